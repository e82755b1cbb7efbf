"""Measures every figure that Orchard promises, from the committed weights, beside what is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from .. import __version__
from ..evaluation.report import format_table, to_json
from ..files import read_text
from .clip import load_clip
from .detector import load_detector
from .figures import Figure
from .language import load_language_model
from .measures import clip_figures, detector_figures, pipeline_figures, scene_figures
from .pipeline import load_pipeline
from .text.measures import language_figures

#: How many scenes or texts (scenes, detector, CLIP, language model) and prompts of a kind (pipelines) are measured.
FULL: Final = (2000, 200)
QUICK: Final = (500, 40)


def measure(models: Sequence[str], scenes: int, prompts: int, batch_size: int) -> list[Figure]:
    """Measure the figures of some models. All are loaded first, so missing weights cost no time.

    Args:
        models: Any of ``"scenes"``, ``"detector"``, ``"clip"``, ``"unet"``, ``"dit"`` and ``"language"``.
        scenes: How many evaluation scenes, or texts.
        prompts: How many prompts of single objects, and of pairs; half as many of empty tables.
        batch_size: Pictures that a pipeline draws at a time.

    Raises:
        InputError: If weights are missing or broken.
    """
    loaded = [_loaded(model, scenes, prompts, batch_size) for model in models]
    return [figure for measured in loaded for figure in measured()]


def _loaded(model: str, scenes: int, prompts: int, batch_size: int) -> Callable[[], list[Figure]]:
    if model == "scenes":
        return partial(scene_figures, scenes)
    if model == "detector":
        return partial(detector_figures, load_detector(), scenes)
    if model == "clip":
        return partial(clip_figures, load_clip(), scenes)
    if model == "language":
        return partial(language_figures, *load_language_model(), scenes)
    return partial(pipeline_figures, model, load_pipeline(model), load_detector(), prompts, batch_size)


def table(figures: Sequence[Figure]) -> str:
    """Lay figures out beside what is asked, for the terminal."""
    rows = [
        (
            {True: "ok", False: "MISSED"}[figure.met] if is_asked(figure) else "",
            figure.model,
            figure.name,
            figure.value,
            asked_text(figure),
            figure.n,
            f"{figure.interval[0]:.1%} to {figure.interval[1]:.1%}",
        )
        for figure in figures
    ]
    columns = {"": "", "model": "", "figure": "", "measured": ".1%", "asked": "", "n": "d", "95 % interval": ""}
    return format_table(rows, columns)


def is_asked(figure: Figure) -> bool:
    """Whether anything is asked of the figure; some are only told."""
    return figure.asked != (0.0, 1.0)


def asked_text(figure: Figure) -> str:
    """Say what is asked: ``≥ 95 %``, ``≤ 5 %``, ``8 % to 12 %``."""
    least, largest = figure.asked
    if not is_asked(figure):
        return "–"
    if least == 0.0:
        return f"≤ {100 * largest:g} %"
    return f"≥ {100 * least:g} %" if largest == 1.0 else f"{100 * least:g} % to {100 * largest:g} %"


def report(figures: Sequence[Figure], settings: dict[str, Any], started: float, earlier: Path | None = None) -> str:
    """Write figures as JSON.

    Args:
        figures: What was measured.
        settings: How.
        started: ``time.monotonic()`` of the start.
        earlier: An earlier report, whose figures of other models are taken over.
    """
    measured = {figure.model for figure in figures}
    records = [figure.as_record() for figure in figures]
    if earlier is not None and earlier.exists():
        others = json.loads(read_text(earlier))["figures"]
        records = [*(record for record in others if record["model"] not in measured), *records]
    return to_json(
        {
            "version": __version__,
            "settings": settings,
            "seconds": round(time.monotonic() - started, 1),
            "met": all(record["met"] for record in records),
            "figures": records,
        }
    )
