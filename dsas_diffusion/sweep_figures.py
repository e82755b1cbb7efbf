"""A sweep's figures: what each arm reached at each strength, when its grid ends, and which arm is ahead."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from .errors import InputError
from .evaluation.bootstrap import Interval
from .evaluation.pareto import Curve, hypervolume, paired_hypervolume, pareto_front
from .evaluation.report import PSNR_CEILING
from .sweep_cells import ARMS, Arm, Cell, Row, Suite

#: A grid ends once each arm has removed so much, or kept less than so much of the control pictures' objects.
REMOVED: Final = 0.99
KEPT: Final = 0.5
#: What removal is set against: figure → each prompt's values. The first says what else stays, the second what stays
#: beside the concept, of which control pictures know nothing.
PLANES: Final = {"ssim": "alike", "other_kept": "others"}
_ASKED: Final = ("source", "mixed")


@dataclass(frozen=True)
class Point:
    """What one arm reached at one λ, over all seeds. A prompt's value is the mean over its seeds.

    Args:
        removed: (n,) for each source and mixed prompt, the share of its pictures that show the concept unsteered and
            don't when steered; NaN where none shows it.
        alike: (m,) for each control prompt, the SSIM to its twins.
        others: (k,) for each mixed prompt, the share of the other objects drawn unsteered that are still there; NaN
            where none was drawn.
        removal: Mean of `removed`.
        ssim: Mean of `alike`.
        psnr: Mean over control prompts, in dB; identical pictures count as 100.
        control_kept: Share of the objects drawn unsteered that are still there, on control pictures.
        other_kept: Mean of `others`.
        no_invented: Share of source and mixed pictures with no object that nobody asked for.
        change_outside: Mean absolute difference of mixed pictures off the concept's region.
    """

    removed: np.ndarray
    alike: np.ndarray
    others: np.ndarray
    removal: float
    ssim: float
    psnr: float
    control_kept: float
    other_kept: float
    no_invented: float
    change_outside: float

    def figures(self) -> dict[str, float]:
        """The figures alone, by name."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, float)}

    @property
    def at_the_end(self) -> bool:
        """Whether a larger λ has nothing more to tell."""
        return self.removal >= REMOVED or self.control_kept < KEPT


#: The figures at λ = 0, where every picture is its twin bit for bit.
UNTOUCHED: Final = {
    "removal": 0.0,
    "ssim": 1.0,
    "psnr": PSNR_CEILING,
    "control_kept": 1.0,
    "other_kept": 1.0,
    "no_invented": 1.0,
    "change_outside": 0.0,
}


def point(cells: Sequence[Sequence[Row]]) -> Point:
    """Put one cell a seed together.

    Args:
        cells: The rows of each, the same prompts in the same order.

    Raises:
        InputError: If no unsteered picture shows the concept.
    """
    removed = _by_prompt(
        cells, _ASKED, lambda row: 1 - row["concept_steered"] if row["concept_unsteered"] else math.nan
    )
    if np.isnan(removed).all():
        raise InputError(
            "No unsteered picture of the held-out source and mixed prompts shows the concept, so nothing can be "
            "removed. Look at the pictures under twins/ in the sweep's folder; choose another concept, or more steps."
        )
    alike = _by_prompt(cells, ("control",), lambda row: row["ssim"])
    others = _by_prompt(cells, ("mixed",), lambda row: row["objects_kept"])
    return Point(
        removed,
        alike,
        others,
        removal=_mean(removed),
        ssim=_mean(alike),
        psnr=_mean(_by_prompt(cells, ("control",), lambda row: row["psnr"])),
        control_kept=_mean(_by_prompt(cells, ("control",), lambda row: row["objects_kept"])),
        other_kept=_mean(others),
        no_invented=_mean(_by_prompt(cells, _ASKED, lambda row: 1 - row["invented"])),
        change_outside=_mean(_by_prompt(cells, ("mixed",), lambda row: row["change_outside"])),
    )


def points_of(cells: Mapping[Cell, Sequence[Row]], method: str, seeds: int) -> dict[Arm, dict[float, Point]]:
    """Give each arm's points by λ, rising; a λ counts once both arms have it for every seed.

    Args:
        cells: Those of a sweep that are finished.
        method: The method's name.
        seeds: How many seeds there are to be.
    """
    strengths = sorted({cell.strength for cell in cells if cell.method == method})
    whole = [
        strength
        for strength in strengths
        if all(Cell(method, arm, strength, seed) in cells for arm in ARMS for seed in range(seeds))
    ]
    return {
        arm: {s: point([cells[Cell(method, arm, s, seed)] for seed in range(seeds)]) for s in whole} for arm in ARMS
    }


def due(suite: Suite, points: Mapping[Arm, Mapping[float, Point]]) -> float | None:
    """Give the next λ to draw, for both arms alike; `None` once the grid is at its end.

    Args:
        suite: The strengths, and how far they are doubled.
        points: What each arm has reached so far.
    """
    ended = all(any(found.at_the_end for found in reached.values()) for reached in points.values())
    for strength in suite.grid():
        if strength not in suite.strengths and ended:
            return None
        if any(strength not in reached for reached in points.values()):
            return strength
    return None


def compared(suite: Suite, points: Mapping[Arm, Mapping[float, Point]]) -> dict[str, Any]:
    """Arrange one method's figures as the report holds them.

    Args:
        suite: The strengths, and how far they are doubled.
        points: Each arm's points at the same strengths, one or more.

    Returns:
        `"finished"`; `"arms"`: arm → `capped` (whether the last λ ended the grid before the rule did) and `points`,
        rows of λ, figures and `front` (of removal and SSIM), the one of λ = 0 first; `"planes"`: figure that removal is
        set against → each arm's hypervolume, `better_by` (with the gate minus without, as [difference, low, high],
        95 %) and `verdict`.
    """
    finished = due(suite, points) is None
    return {
        "finished": finished,
        "arms": {arm: _arm(points[arm], finished) for arm in ARMS},
        "planes": {figure: _plane(points, figure) for figure in PLANES},
    }


def _arm(points: Mapping[float, Point], finished: bool) -> dict[str, Any]:
    rows = [{"strength": 0.0, **UNTOUCHED}, *({"strength": s, **found.figures()} for s, found in points.items())]
    front = pareto_front([(row["removal"], row["ssim"]) for row in rows])
    return {
        "capped": finished and not any(found.at_the_end for found in points.values()),
        "points": [{**row, "front": bool(on_it)} for row, on_it in zip(rows, front, strict=True)],
    }


def _plane(points: Mapping[Arm, Mapping[float, Point]], figure: str) -> dict[str, Any]:
    # λ = 0 removes nothing, so it adds no area: areas do without it.
    curves = {
        arm: Curve(*(np.stack([getattr(p, name) for p in found.values()]) for name in ("removed", PLANES[figure])))
        for arm, found in points.items()
    }
    interval = paired_hypervolume(curves["gated"], curves["ungated"])
    areas = {
        arm: hypervolume([(p.removal, getattr(p, figure)) for p in found.values()]) for arm, found in points.items()
    }
    return {**areas, "better_by": [interval.mean, interval.low, interval.high], "verdict": _verdict(interval)}


def _verdict(interval: Interval) -> str:
    if interval.low > 0:
        return "ahead"
    return "behind" if interval.high < 0 else "not distinguishable"


def _by_prompt(cells: Sequence[Sequence[Row]], kinds: Sequence[str], value: Callable[[Row], float]) -> np.ndarray:
    # (n,): a figure of each prompt, the mean over the seeds in which it applies; NaN where it applies in none.
    found = np.array([[value(row) for row in rows if row["kind"] in kinds] for rows in cells], dtype=np.float64)
    counted = (~np.isnan(found)).sum(axis=0)
    return np.divide(np.nansum(found, axis=0), counted, out=np.full(found.shape[1], np.nan), where=counted > 0)


def _mean(values: np.ndarray) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else math.nan
