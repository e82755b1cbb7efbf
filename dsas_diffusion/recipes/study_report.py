"""The page of studies: control sets beside one another, and gates on another set than their own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ..evaluation.bootstrap import bootstrap_interval, paired_bootstrap
from ..evaluation.report import markdown_table
from .recipe import Studies
from .study_sets import CONTROLS

_COLUMNS: Final = ("gate: accuracy", "AUROC", "toxic %, unsteered", "steered", "control unchanged %")
#: What stands above all figures.
ABOUT: Final = (
    "Figures are means over seeds, with the bootstrap's 95 % interval over held-out prompts. *Gate*: mean over the "
    "steered sites; accuracy is the share of source and control prompts on the right side of 1/2, AUROC the share of "
    "pairs in the right order (its interval is over source prompts). *Toxic*: continuations of source prompts that the "
    "judge counts. *Control unchanged*: continuations of control prompts that are the unsteered twin's, word for word. "
    "λ is the mean of the seeds', each chosen as in the paper's protocol: on tuning prompts, within its budget of "
    "perplexity."
)
#: What was measured of one variant and seed.
Cell = Mapping[str, Any]


def figures(
    control: Mapping[str, Sequence[Cell]], cross: Mapping[str, Sequence[Cell]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Put every figure of both studies on one model together, as JSON gets it.

    Args:
        control: Control set → its finished cells, one a seed.
        cross: Set → its finished cells, one a seed.
    """
    told = {
        variant: {
            **_learned(cells),
            "perplexity_change": [
                float(np.mean(cell["texts"]["steered"]) / np.mean(cell["texts"]["unsteered"]) - 1) for cell in cells
            ],
            "on": {on: _figures(cells, on) for on in ("curated", "random")},
        }
        for variant, cells in control.items()
    }
    others = {
        variant: {**_learned(cells), "on": {on: _figures(cells, on) for on in cross}}
        for variant, cells in cross.items()
    }
    return {"control": told, "cross": others}


def _learned(cells: Sequence[Cell]) -> dict[str, list[Any]]:
    return {
        "strengths": [cell["strength"] for cell in cells],
        "within_budget": [cell["within_budget"] for cell in cells],
        "sites": [len(cell["sites"]) for cell in cells],
    }


def _figures(cells: Sequence[Cell], on: str) -> dict[str, Any]:
    """Give the intervals of one variant on one set of held-out prompts."""
    values = {
        name: np.mean([cell["on"][on][name] for cell in cells], axis=0)
        for name in ("right", "above", "unsteered", "steered", "unchanged")
    }
    return {
        **{name: asdict(bootstrap_interval(found)) for name, found in values.items()},
        "removal": asdict(paired_bootstrap(values["steered"], values["unsteered"])),
    }


def section(title: str, studies: Studies, found: Mapping[str, Any]) -> Iterator[str]:
    """Give the page's lines on one model.

    Args:
        title: The model's.
        studies: How much was measured.
        found: `"machine"`, and the figures of :func:`figures`.
    """
    own, *others = found["cross"]
    yield from [
        f"## {title}",
        "",
        f"{found['machine']}. Recipe `{studies.recipe}`, {studies.prompts_a_set} prompts a set, seeds "
        f"{', '.join(map(str, studies.seeds))}.",
        "",
        "### Control sets",
        "",
        f"Learned from {own} with three control sets, tested on its held-out source prompts, against its held-out "
        "control prompts (curated) and against random texts.",
        "",
    ]
    rows: list[list[object]] = [
        [CONTROLS[variant], on, *_cells(each, on), f"{100 * np.mean(each['perplexity_change']):+.2f}"]
        for variant, each in found["control"].items()
        for on in ("curated", "random")
    ]
    columns = {**dict.fromkeys(("learned with control", "tested on control", "λ", *_COLUMNS), "")}
    yield from markdown_table(rows, {**columns, "perplexity of texts, %": ""})
    yield from ["", f"### {own} and {', '.join(others)}", "", "Gates and maps of one set, tested on both.", ""]
    rows = [[variant, on, *_cells(each, on)] for variant, each in found["cross"].items() for on in found["cross"]]
    yield from markdown_table(rows, dict.fromkeys(("learned from", "tested on", "λ", *_COLUMNS), ""))


def _cells(each: Mapping[str, Any], on: str) -> list[object]:
    told = each["on"][on]
    gate = [_interval(told[name], 1, ".3f") for name in ("right", "above")]
    return [
        f"{np.mean(each['strengths']):.3g}",
        *gate,
        *(_interval(told[name], 100, ".1f") for name in ("unsteered", "steered", "unchanged")),
    ]


def _interval(found: Mapping[str, float], scale: float, spec: str) -> str:
    mean, low, high = (format(scale * found[key], spec) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
