"""Measures every figure that Orchard promises, from the committed weights, beside what is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from .. import __version__
from ..evaluation.report import format_table, to_json
from .clip import load_clip
from .detector import load_detector
from .figures import Figure
from .measures import clip_figures, detector_figures, scene_figures, unet_figures
from .pipeline import load_pipeline

#: How many scenes (scenes, detector, CLIP) and prompts of a kind (U-Net) are measured.
FULL: Final = (2000, 200)
QUICK: Final = (500, 40)


def measure(model: str, scenes: int, prompts: int, batch_size: int) -> list[Figure]:
    """Measure the figures of one model.

    Args:
        model: ``"scenes"``, ``"detector"``, ``"clip"`` or ``"unet"``.
        scenes: How many evaluation scenes.
        prompts: How many prompts of single objects, and of pairs; half as many of empty tables.
        batch_size: Pictures that the U-Net draws at a time.

    Raises:
        InputError: If weights are missing or broken.
    """
    measures: dict[str, Callable[[], list[Figure]]] = {
        "scenes": lambda: scene_figures(scenes),
        "detector": lambda: detector_figures(load_detector(), scenes),
        "clip": lambda: clip_figures(load_clip(), scenes),
        "unet": lambda: unet_figures(load_pipeline("unet"), load_detector(), prompts, batch_size),
    }
    return measures[model]()


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
    """Say what is asked: ``≥ 95 %``, ``8 % to 12 %``."""
    least, largest = figure.asked
    if not is_asked(figure):
        return "–"
    return f"≥ {100 * least:g} %" if largest == 1.0 else f"{100 * least:g} % to {100 * largest:g} %"


def report(figures: Sequence[Figure], settings: dict[str, Any], started: float) -> str:
    """Write figures as JSON.

    Args:
        figures: What was measured.
        settings: How.
        started: ``time.monotonic()`` of the start.
    """
    return to_json(
        {
            "version": __version__,
            "settings": settings,
            "seconds": round(time.monotonic() - started, 1),
            "met": all(figure.met for figure in figures),
            "figures": [figure.as_record() for figure in figures],
        }
    )
