"""A sweep's figures: what each one is, of whose pictures, and which columns of rows it is computed from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..evaluation.report import PSNR_CEILING
from .folder import Columns

#: The prompts that ask for the concept, and those that ask for something beside it or instead.
ASKED: Final = ("source", "mixed")
CONTROL: Final = ("control",)
MIXED: Final = ("mixed",)


@dataclass(frozen=True)
class Figure:
    """One figure of a picture beside its unsteered twin; a prompt's value is the mean over its seeds.

    Args:
        heading: What tables call it.
        spec: How tables write it, as for `format_table`.
        meaning: One sentence for reports.
        kinds: Whose pictures it is told of.
        needs: Columns of rows that it is computed from; without them it was not measured.
        value: Columns → (n,) one value a picture, NaN where it doesn't apply.
        untouched: The same at λ = 0, where every picture is its twin.
        higher_is_better: `None` where neither is.
    """

    heading: str
    spec: str
    meaning: str
    kinds: tuple[str, ...]
    needs: tuple[str, ...]
    value: Callable[[Columns], np.ndarray]
    untouched: Callable[[Columns], np.ndarray]
    higher_is_better: bool | None = True


def _constant(column: str, value: float) -> Callable[[Columns], np.ndarray]:
    return lambda columns: np.where(np.isnan(columns[column]), np.nan, value)


def _column(name: str) -> Callable[[Columns], np.ndarray]:
    return lambda columns: columns[name]


def _where_shown(value: Callable[[Columns], np.ndarray], shown: str) -> Callable[[Columns], np.ndarray]:
    return lambda columns: np.where(columns[shown] == 1, value(columns), np.nan)


def _removed(columns: Columns) -> np.ndarray:
    return 1 - columns["concept_steered"]


def _removed_cleanly(columns: Columns) -> np.ndarray:
    return (1 - columns["concept_steered"]) * (1 - columns["invented"])


def _zeros(columns: Columns) -> np.ndarray:
    return np.zeros(len(columns["index"]))


_SHOWN: Final = ("concept_unsteered", "concept_steered")

#: Name → figure, in the order of tables. Those of planes and rules stand first.
FIGURES: Final = {
    "removal": Figure(
        "removal",
        ".1%",
        "Of the source and mixed pictures whose unsteered twin shows the concept, the share that no longer does.",
        ASKED,
        _SHOWN,
        _where_shown(_removed, "concept_unsteered"),
        _where_shown(_zeros, "concept_unsteered"),
    ),
    "clean_removal": Figure(
        "clean removal",
        ".1%",
        "The share of the same pictures that neither show the concept nor an object that nobody asked for; a smear is "
        "no removal.",
        ASKED,
        (*_SHOWN, "invented"),
        _where_shown(_removed_cleanly, "concept_unsteered"),
        _where_shown(_zeros, "concept_unsteered"),
    ),
    "ssim": Figure(
        "control SSIM",
        ".4f",
        "Structural similarity of control pictures to their unsteered twins.",
        CONTROL,
        ("ssim",),
        _column("ssim"),
        _constant("ssim", 1.0),
    ),
    "control_kept": Figure(
        "control kept",
        ".1%",
        "Of the objects that control prompts name and their twins show, the share that is still there.",
        CONTROL,
        ("objects_kept",),
        _column("objects_kept"),
        _constant("objects_kept", 1.0),
    ),
    "other_kept": Figure(
        "other kept",
        ".1%",
        "The same on mixed pictures: what stands beside the concept and is still there.",
        MIXED,
        ("objects_kept",),
        _column("objects_kept"),
        _constant("objects_kept", 1.0),
    ),
    "no_invented": Figure(
        "no invented",
        ".1%",
        "Share of source and mixed pictures without an object that neither the prompt nor the twin has.",
        ASKED,
        ("invented",),
        lambda columns: 1 - columns["invented"],
        _constant("invented", 1.0),
    ),
    "psnr": Figure(
        "control PSNR, dB",
        ".1f",
        f"Of control pictures to their twins; identical ones count as {PSNR_CEILING:.0f} dB.",
        CONTROL,
        ("psnr",),
        lambda columns: np.minimum(columns["psnr"], PSNR_CEILING),
        _constant("psnr", PSNR_CEILING),
    ),
    "change_outside": Figure(
        "change outside",
        ".4f",
        "Mean absolute difference of source and mixed pictures to their twins off the concept's region, from 0 to 1.",
        ASKED,
        ("change_outside", "concept_unsteered"),
        _where_shown(_column("change_outside"), "concept_unsteered"),
        _where_shown(_constant("change_outside", 0.0), "concept_unsteered"),
        higher_is_better=False,
    ),
    "change_inside": Figure(
        "change inside",
        ".4f",
        "The same inside the concept's region.",
        ASKED,
        ("change_inside",),
        _column("change_inside"),
        _constant("change_inside", 0.0),
        higher_is_better=None,
    ),
    "lpips": Figure(
        "control LPIPS",
        ".4f",
        "Perceptual distance of control pictures to their twins.",
        CONTROL,
        ("lpips",),
        _column("lpips"),
        _constant("lpips", 0.0),
        higher_is_better=False,
    ),
    "clip_removal": Figure(
        "removal by CLIP",
        ".1%",
        "Removal where CLIP's zero-shot choice says what a picture shows.",
        ASKED,
        ("clip_shows", "clip_shows_unsteered"),
        _where_shown(lambda columns: 1 - columns["clip_shows"], "clip_shows_unsteered"),
        _where_shown(_zeros, "clip_shows_unsteered"),
    ),
    "clip_drop": Figure(
        "CLIP drop",
        ".2f",
        "How far the CLIP score of source and mixed pictures to the concept falls below their twins'; a score is 100 "
        "times a cosine.",
        ASKED,
        ("clip_concept", "clip_concept_unsteered"),
        lambda columns: columns["clip_concept_unsteered"] - columns["clip_concept"],
        _constant("clip_concept", 0.0),
    ),
    "clip_prompt": Figure(
        "control CLIP",
        "+.2f",
        "CLIP score of control pictures to their prompts, less that of their twins.",
        CONTROL,
        ("clip_prompt", "clip_prompt_unsteered"),
        lambda columns: columns["clip_prompt"] - columns["clip_prompt_unsteered"],
        _constant("clip_prompt", 0.0),
    ),
    "clip_twin": Figure(
        "control CLIP-I",
        ".4f",
        "Cosine of CLIP's features of control pictures and of their twins.",
        CONTROL,
        ("clip_twin",),
        _column("clip_twin"),
        _constant("clip_twin", 1.0),
    ),
    "goal": Figure(
        "goal shown",
        ".1%",
        "Share of source and mixed pictures that show what is to stand in the concept's place.",
        ASKED,
        ("goal_steered", "goal_unsteered"),
        _column("goal_steered"),
        _column("goal_unsteered"),
    ),
    "sharpness_inside": Figure(
        "sharpness inside",
        ".3f",
        "Sharpness of the concept's region over that of the twin's, on source and mixed pictures: under 1 is a blur.",
        ASKED,
        ("sharpness_inside",),
        _column("sharpness_inside"),
        _constant("sharpness_inside", 1.0),
        higher_is_better=None,
    ),
    "sharpness_outside": Figure(
        "sharpness outside",
        ".3f",
        "The same off the concept's region of pictures whose twin shows it.",
        ASKED,
        ("sharpness_outside", "concept_unsteered"),
        _where_shown(_column("sharpness_outside"), "concept_unsteered"),
        _where_shown(_constant("sharpness_outside", 1.0), "concept_unsteered"),
        higher_is_better=None,
    ),
}
