"""Pareto fronts of removal and preservation over λ, their hypervolume, and the paired bootstrap of two of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .bootstrap import Interval, check_settings, percentiles, resampled_means


@dataclass(frozen=True)
class Curve:
    """What one way of steering reached over λ, prompt by prompt.

    Args:
        removal: (k, n), for each of k strengths one value a prompt that asks for the concept (over several seeds, their
            mean). NaN where the unsteered picture doesn't show the concept.
        preservation: (k, m), for the same strengths one value a control prompt.
    """

    removal: np.ndarray
    preservation: np.ndarray


def pareto_front(points: ArrayLike) -> np.ndarray:
    """Front = {p : no q with q ≥ p in both and q > p in one}: the points that no other one dominates.

    Args:
        points: (n, 2), removal and preservation, both better when higher. Equal points don't dominate one another.

    Returns:
        (n,) bool, true for the points on the front.

    Raises:
        InputError: If the shape is another one, or a value is not finite.

    Source: Zitzler and Thiele, Multiobjective evolutionary algorithms, IEEE Transactions on Evolutionary Computation
    3(4), 1999, definition 1.
    """
    found = _points(points)
    no_worse = (found[:, None] >= found[None]).all(axis=-1)
    better = (found[:, None] > found[None]).any(axis=-1)
    return np.logical_not((no_worse & better).any(axis=0))


def hypervolume(points: ArrayLike, reference: tuple[float, float] = (0.0, 0.0)) -> float:
    """HV = ∫ max(0, max{pᵢ − p₀ : rᵢ ≥ x}) dx from r₀ on: the area between the reference and the front.

    Args:
        points: (n, 2), removal r and preservation p, both better when higher. Points that are dominated, or below the
            reference, add nothing.
        reference: (r₀, p₀), the worst that counts.

    Returns:
        The area; with both in [0, 1] and the reference (0, 0) from 0 to 1.

    Raises:
        InputError: If the shape is another one, or a value is not finite.

    Source: Zitzler and Thiele, Multiobjective evolutionary algorithms, IEEE Transactions on Evolutionary Computation
    3(4), 1999, section III.A.
    """
    return float(areas(_points(points), reference))


def paired_hypervolume(
    curve: Curve,
    other: Curve,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int | np.random.Generator = 0,
    reference: tuple[float, float] = (0.0, 0.0),
) -> Interval:
    """Percentile interval of HV(curve) − HV(other), with prompts resampled and everything of one kept together.

    The points of a curve are the means over prompts, one a strength. A resample draws prompts that ask for the concept
    and control prompts with replacement, each among their own, the same ones for both curves and every strength; its
    two hypervolumes are those of the resampled means.

    Args:
        curve: One way of steering.
        other: Another, on the same prompts in the same order; it may have other strengths.
        level: Coverage that is aimed at, between 0 and 1.
        resamples: How many resamples to draw.
        seed: Of a generator of its own, or the generator.
        reference: As for `hypervolume`.

    Returns:
        The difference of the two hypervolumes and its interval; `count` is the number of prompts of both kinds. A
        prompt with a NaN at any strength of either is left out of both. They differ at this level where the interval
        leaves 0 out.

    Raises:
        InputError: If the numbers of prompts or strengths don't fit, fewer than 2 prompts of either kind are left, a
            value is infinite, or a setting is out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3, applied to the hypervolume.
    """
    check_settings(level, resamples)
    removals = _paired("removal", curve.removal, other.removal)
    preservations = _paired("preservation", curve.preservation, other.preservation)
    for name, one, two in (("curve", removals[0], preservations[0]), ("other", removals[1], preservations[1])):
        if len(one) != len(two) or not len(one):
            raise InputError(
                f"{name} has {len(one)} strengths of removal and {len(two)} of preservation; a curve has the same 1 or "
                "more of both."
            )
    sizes = [len(removals[0]), len(removals[1])]
    counts = removals[0].shape[1], preservations[0].shape[1]
    values = np.full((2 * sum(sizes), sum(counts)), np.nan)
    values[: sum(sizes), : counts[0]] = np.concatenate(removals)
    values[sum(sizes) :, counts[0] :] = np.concatenate(preservations)

    def differences(means: np.ndarray) -> np.ndarray:
        points = np.stack(np.split(means, 2, axis=-1), axis=-1)
        return areas(points[:, : sizes[0]], reference) - areas(points[:, sizes[0] :], reference)

    drawn = differences(resampled_means(values, np.repeat([0, 1], counts), resamples, seed))
    low, high = percentiles(drawn, level)
    mean = differences(np.nanmean(values, axis=1)[None])[0]
    return Interval(float(mean), float(low), float(high), sum(counts))


def heights(points: np.ndarray, removals: ArrayLike) -> np.ndarray:
    """H(x) = max(0, max{pᵢ : rᵢ ≥ x}): the front as a staircase, whose area over [0, 1] the hypervolume is.

    Args:
        points: (..., n, 2), removal r and preservation p of n strengths, for any number of resamples.
        removals: (k,) each x.

    Returns:
        (..., k) the best preservation at a removal of x or more; 0 where no strength reaches it.
    """
    wanted = np.asarray(removals, dtype=np.float64)
    found = np.zeros((*points.shape[:-2], len(wanted)))
    for place in range(points.shape[-2]):
        removal, preservation = points[..., place, 0, None], points[..., place, 1, None]
        np.maximum(found, np.where(removal >= wanted, preservation, 0), out=found)
    return found


def areas(points: np.ndarray, reference: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Hypervolumes of many fronts at once; see `hypervolume`.

    Args:
        points: (..., n, 2), removal and preservation of n strengths.
        reference: As for `hypervolume`.

    Returns:
        (...); NaN where a value is NaN.
    """
    # From the highest removal down, the best preservation so far times the step to the next.
    above = np.maximum(points - np.asarray(reference), 0)
    order = np.argsort(-above[..., 0], axis=-1)
    removal, preservation = (np.take_along_axis(above[..., i], order, axis=-1) for i in (0, 1))
    lower = np.concatenate([removal[..., 1:], np.zeros_like(removal[..., :1])], axis=-1)
    return ((removal - lower) * np.maximum.accumulate(preservation, axis=-1)).sum(axis=-1)


def _points(points: ArrayLike) -> np.ndarray:
    found = np.asarray(points, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or not len(found):
        raise InputError(
            f"points has the shape {found.shape}; accepted is (n, 2) with n of 1 or more: removal and preservation of "
            "each strength."
        )
    if not np.isfinite(found).all():
        raise InputError(
            f"points holds NaN or an infinite value in row {int((~np.isfinite(found)).any(axis=1).argmax())}. Leave "
            "out strengths at which something was not measured."
        )
    return found


def _paired(name: str, values: ArrayLike, others: ArrayLike) -> list[np.ndarray]:
    # Both as (strengths, prompts), without the prompts that have a NaN in either.
    first, second = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise InputError(
            f"{name} has the shapes {first.shape} and {second.shape}; accepted is (strengths, prompts) with the same "
            "prompts in one order. Write NaN where a prompt has no value."
        )
    if np.isinf(first).any() or np.isinf(second).any():
        raise InputError(f"{name} holds an infinite value, and so has no mean. Cap it in both curves.")
    counted = ~(np.isnan(first).any(axis=0) | np.isnan(second).any(axis=0))
    if counted.sum() < 2:
        raise InputError(
            f"{int(counted.sum())} prompts have a {name} at every strength of both curves; an interval over prompts "
            "needs 2 or more. Measure more prompts."
        )
    return [first[:, counted], second[:, counted]]
