"""Fronts of removal against preservation over λ, with bands; their hypervolumes, and who is ahead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ..evaluation.bootstrap import Interval, percentiles, resampled_means
from ..evaluation.pareto import areas, heights, pareto_front
from .reached import Reached

#: What removal is set against: the first says what else stays, the second what stays beside the concept, of which
#: control pictures know nothing.
PLANES: Final = ("ssim", "other_kept")
#: The worst removal and preservation that count in a hypervolume.
REFERENCE: Final = (0.0, 0.0)
#: The removals at which fronts are written down.
LEVELS: Final = (0.5, 0.75, 0.9, 0.95, 0.99)
#: Those at which they are drawn with a band.
BAND: Final = np.linspace(0.02, 1, 50)
#: Resamples of a band, of which ends to a picture's accuracy are enough.
BAND_RESAMPLES: Final = 2000
Verdict = Literal["ahead", "behind", "not distinguishable"]


@dataclass(frozen=True)
class Front:
    """One technique's front in one plane, on held-out prompts.

    Args:
        points: (1 + k, 2) removal and preservation at λ = 0 and at each judged strength.
        on_front: (1 + k,) whether no other strength is better in both.
        hypervolume: Its area with `REFERENCE`, and the interval.
        heights: The best preservation at a removal of each of `LEVELS` or more; `None` where no strength reaches it.
            An end of 0 says that in some resamples none does.
        band: (2, len(BAND)) lower and upper ends of the front's height at each of `BAND`.
        drawn: (resamples,) the hypervolumes of the resamples.
    """

    points: np.ndarray
    on_front: np.ndarray
    hypervolume: Interval
    heights: tuple[Interval | None, ...]
    band: np.ndarray
    drawn: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """One technique's hypervolume beside another's.

    Args:
        difference: The first less the second, with the interval of the paired bootstrap.
        verdict: Whether the first is ahead: whether the interval leaves 0 out, and on which side.
    """

    difference: Interval
    verdict: Verdict


def fronts(curves: Mapping[str, Reached], resamples: int = 10_000, seed: int = 0) -> dict[str, dict[str, Front]]:
    """Compute every technique's front in each plane, all from the same resamples.

    A resample draws prompts with replacement, each task's prompts of each kind among their own, with all seeds of a
    prompt together, and the same prompts for every technique, strength and figure.

    Args:
        curves: Technique → what it reached on the same prompts.
        resamples: How many resamples to draw.
        seed: Of the generator.

    Returns:
        Plane → technique → front. A plane that was not measured is left out, as where there are no mixed prompts.

    Source: Zitzler and Thiele, Multiobjective evolutionary algorithms, IEEE Transactions on Evolutionary Computation
    3(4), 1999; Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    if not curves:
        return {}
    needed = ("removal", *PLANES)
    groups = next(iter(curves.values())).groups
    stacked = np.concatenate([curve.values[name] for curve in curves.values() for name in needed])
    means = resampled_means(stacked, groups, resamples, seed)
    found: dict[str, dict[str, Front]] = {}
    for plane in PLANES:
        if any(np.isnan(curve.means(name)).any() for curve in curves.values() for name in ("removal", plane)):
            continue
        found[plane], start = {}, 0
        for technique, curve in curves.items():
            count = len(curve.values["removal"])
            own = means[:, start : start + len(needed) * count].reshape(len(means), len(needed), count)
            start += len(needed) * count
            drawn = np.stack([own[:, 0], own[:, needed.index(plane)]], axis=-1)
            found[plane][technique] = _front(curve, plane, drawn)
    return found


def compare(first: Front, second: Front, count: int) -> Comparison:
    """Compare two fronts that come from the same resamples.

    Args:
        first: One technique's.
        second: Another's, from one call of `fronts`.
        count: How many prompts they are told of.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3, applied to the hypervolume.
    """
    low, high = percentiles(first.drawn - second.drawn)
    mean = first.hypervolume.mean - second.hypervolume.mean
    return Comparison(Interval(mean, float(low), float(high), count), verdict(float(low), float(high)))


def verdict(low: float, high: float) -> Verdict:
    """Say what an interval of a difference tells.

    Args:
        low: Lower end.
        high: Upper end.
    """
    if low > 0:
        return "ahead"
    return "behind" if high < 0 else "not distinguishable"


def tuned_hypervolume(curve: Reached, plane: str = PLANES[0]) -> float:
    """Give the hypervolume that configurations are chosen by, of tuning prompts.

    Args:
        curve: What one reached there.
        plane: What removal is set against.

    Returns:
        From 0 to 1; NaN where it was not measured.
    """
    return float(areas(np.stack([curve.means("removal"), curve.means(plane)], axis=-1), REFERENCE))


def _front(curve: Reached, plane: str, drawn: np.ndarray) -> Front:
    start = [0.0, 1.0]  # λ = 0 removes nothing and keeps all
    points = np.stack([curve.means("removal"), curve.means(plane)], axis=-1)
    volumes = areas(drawn, REFERENCE)
    low, high = percentiles(volumes)
    count = int((~np.isnan(curve.values["removal"][0]) | ~np.isnan(curve.values[plane][0])).sum())
    reached_heights, (lows, highs) = heights(points, LEVELS), percentiles(heights(drawn, LEVELS))
    with_start = np.concatenate([[start], points])
    return Front(
        with_start,
        pareto_front(with_start),
        Interval(float(areas(points, REFERENCE)), float(low), float(high), count),
        tuple(
            Interval(float(height), float(lows[place]), float(highs[place]), count)
            if (points[:, 0] >= level).any()
            else None
            for place, (level, height) in enumerate(zip(LEVELS, reached_heights, strict=True))
        ),
        np.stack(percentiles(heights(drawn[:BAND_RESAMPLES], BAND))),
        volumes,
    )
