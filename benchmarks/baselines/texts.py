"""What baselines share about texts: which pipelines they are for, the concept's words, and encoded prompts."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from torch import Tensor

from dsas_diffusion.errors import InputError
from dsas_diffusion.files import atomic_folder, read_json
from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import Conditions

T = TypeVar("T")
#: Where a baseline takes the concept's words from.
Words = Literal["label", "source"]
#: Words of place, which name no concept even where no other prompt has them.
_PLACES = {
    "above",
    "below",
    "left",
    "right",
    "top",
    "bottom",
    "centre",
    "center",
    "middle",
    "front",
    "behind",
    "beside",
}
_WORD = re.compile(r"[\w'-]+")


@dataclass(frozen=True)
class Text:
    """Encoded prompts, as the denoiser takes them.

    Args:
        states: (n, tokens, channels).
        pooled: (n, channels), where the denoiser takes that as well.
    """

    states: Tensor
    pooled: Tensor | None = None


def require(pipe: DiffusionPipeline, conditions: Conditions, technique: str, *kinds: type[DiffusionPipeline]) -> None:
    """Refuse what a technique is not for.

    Args:
        pipe: The pipeline.
        conditions: What it is to learn under.
        technique: Its name, for messages.
        *kinds: The pipelines that it is for.

    Raises:
        InputError: If the pipeline is of none of the kinds, or something else than removal is asked for.
    """
    if conditions.towards is not None:
        raise InputError(
            f"{technique} keeps the concept out and can make nothing else of it, but the task is to lead it towards "
            f"{conditions.towards.name!r}. Leave the technique out of the task (`techniques` in the plan)."
        )
    if not isinstance(pipe, kinds):
        raise InputError(
            f"{technique} is for {' or '.join(kind.__name__ for kind in kinds)}, but this is a {type(pipe).__name__}. "
            "Name another pipeline, or leave the technique out of the task (`techniques` in the plan)."
        )


def checked_words(words: Words) -> Words:
    """Give the choice back, if it is one.

    Raises:
        InputError: If it is not.
    """
    if words not in get_args(Words):
        raise InputError(f"words must be one of {', '.join(map(repr, get_args(Words)))}, but is {words!r}.")
    return words


def concept_words(concepts: Sequence[PromptSet], words: Words) -> list[str]:
    """Give the names of the concepts: their labels, and for `"source"` also what only their source prompts say.

    Such a phrase is a run of words that no target or control prompt of the set has, with one other word at most between
    two of them: "plantain", "long curved yellow fruit".

    Args:
        concepts: The prompt sets.
        words: `"label"` or `"source"`.

    Returns:
        Names without repetition, each concept's label first.
    """
    found: list[str] = []
    for concept in concepts:
        found.append(concept.concept.label)
        if words == "source":
            known = set(_PLACES).union(
                _WORD.findall(" ".join(concept.texts("target") + concept.texts("control")).lower())
            )
            for text in concept.texts("source"):
                found += _phrases(text.lower(), known)
    return list(dict.fromkeys(found))


def _phrases(text: str, known: set[str]) -> list[str]:
    spelled = list(_WORD.finditer(text))
    new = [index for index, word in enumerate(spelled) if word[0] not in known]
    runs: list[list[int]] = []
    for index in new:
        if runs and index - runs[-1][-1] <= 2:
            runs[-1].append(index)
        else:
            runs.append([index])
    return [text[spelled[run[0]].start() : spelled[run[-1]].end()] for run in runs]


def alternating(lists: Sequence[Sequence[T]]) -> list[T]:
    """Join lists, an item of each in turn; a longer one's rest comes last."""
    nothing = object()
    groups = zip_longest(*lists, fillvalue=nothing)
    return [cast(T, item) for group in groups for item in group if item is not nothing]


def text_settings(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Give those sampling settings that change how long an encoded prompt is."""
    return {name: value for name, value in generation.items() if name == "max_sequence_length"}


@torch.no_grad()
def encoded(pipe: DiffusionPipeline, texts: Sequence[str], settings: Mapping[str, Any]) -> Text:
    """Encode prompts as the pipeline does.

    Args:
        pipe: A `StableDiffusionPipeline` or `StableDiffusion3Pipeline`.
        texts: n prompts.
        settings: From :func:`text_settings`.
    """
    if isinstance(pipe, StableDiffusion3Pipeline):
        asked: dict[str, Any] = {"prompt_2": None, "prompt_3": None, "do_classifier_free_guidance": False, **settings}
        states, _, pooled, _ = pipe.encode_prompt(list(texts), device=pipe.device, **asked)
        return Text(states, pooled)
    if not isinstance(pipe, StableDiffusionPipeline):
        raise InputError(f"Prompts of a {type(pipe).__name__} can't be encoded here. Name another pipeline.")
    return Text(pipe.encode_prompt(list(texts), pipe.device, 1, False)[0])


def remembered(folder: Path, learn: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Read what was learned, or learn and keep it: a few words or numbers in `learned.json`.

    Args:
        folder: As for `Technique.prepare`.
        learn: Gives what is kept; called where nothing is kept yet.
    """
    if not folder.is_dir():
        with atomic_folder(folder) as temporary:
            (temporary / "learned.json").write_text(json.dumps(learn(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    return read_json(folder / "learned.json")
