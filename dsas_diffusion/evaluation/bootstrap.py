"""Bootstrap intervals of means and ratios over prompts, and of differences of two methods on the same prompts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError

DRAWS = 2**20  # held at a time


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile interval.

    Args:
        mean: Over the values that counted.
        low: Lower end.
        high: Upper end.
        count: How many values, or pairs of values, counted.
    """

    mean: float
    low: float
    high: float
    count: int


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, resamples: int = 10_000, seed: int | np.random.Generator = 0
) -> Interval:
    """Percentile interval of a mean: the (1 ± level) / 2 quantiles of the means of resamples with replacement.

    Args:
        values: (n,), one value a prompt (over several seeds, their mean). NaN means "doesn't apply" and is left out.
        level: Coverage that is aimed at, between 0 and 1.
        resamples: How many resamples to draw.
        seed: Of a generator of its own, or the generator.

    Returns:
        The mean of the values and its interval.

    Raises:
        InputError: If values is not (n,), fewer than 2 are left, one is infinite, or a setting is out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    found = _column("values", values)
    found = found[~np.isnan(found)]
    if len(found) < 2:
        raise InputError(
            f"{len(found)} prompts have a value that is not NaN; an interval over prompts needs 2 or more. Measure "
            "more prompts, or another kind of them."
        )
    check_settings(level, resamples)
    generator = np.random.default_rng(seed)
    rows = max(1, DRAWS // len(found))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    means = [found[generator.integers(len(found), size=(size, len(found)))].mean(axis=1) for size in sizes]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(found.mean()), float(low), float(high), len(found))


def paired_bootstrap(
    values: ArrayLike,
    others: ArrayLike,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int | np.random.Generator = 0,
) -> Interval:
    """Percentile interval of the mean of values − others, with prompts resampled and both values of one kept together.

    Args:
        values: (n,), one value a prompt (over several seeds, their mean).
        others: (n,), another method's values for the same prompts in the same order. Prompts with a NaN in either are
            left out of both.
        level: Coverage that is aimed at, between 0 and 1.
        resamples: How many resamples to draw.
        seed: Of a generator of its own, or the generator.

    Returns:
        The mean difference and its interval; they differ at this level where it leaves 0 out.

    Raises:
        InputError: If the lengths differ, fewer than 2 pairs are left, a value is infinite, or a setting is out of
            range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    first, second = _column("values", values), _column("others", others)
    if len(first) != len(second):
        raise InputError(
            f"values has {len(first)} entries and others {len(second)}; paired are values of the same prompts in one "
            "order. Write NaN where a prompt has none."
        )
    return bootstrap_interval(first - second, level, resamples, seed)


def bootstrap_ratio(
    parts: ArrayLike,
    wholes: ArrayLike,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int | np.random.Generator = 0,
) -> Interval:
    """Percentile interval of Σ parts / Σ wholes, with prompts resampled and both values of one kept together.

    Args:
        parts: (n,), one value a prompt or text, such as its log-likelihood.
        wholes: (n,), what it is shared over, such as the number of tokens; above 0.
        level: Coverage that is aimed at, between 0 and 1.
        resamples: How many resamples to draw.
        seed: Of a generator of its own, or the generator.

    Returns:
        The ratio and its interval.

    Raises:
        InputError: If the lengths differ, there are fewer than 2 rows, a value is not finite, a whole is not positive,
            or a setting is out of range.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    return _ratio_interval([_ratio(parts, wholes)], level, resamples, seed)


def paired_bootstrap_ratio(
    parts: ArrayLike,
    wholes: ArrayLike,
    other_parts: ArrayLike,
    other_wholes: ArrayLike,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int | np.random.Generator = 0,
) -> Interval:
    """Percentile interval of Σ parts / Σ wholes − Σ other parts / Σ other wholes, all four of a prompt kept together.

    Args:
        parts: As for :func:`bootstrap_ratio`.
        wholes: As there.
        other_parts: (n,), another method's values for the same prompts in the same order.
        other_wholes: (n,), theirs.
        level: Coverage that is aimed at, between 0 and 1.
        resamples: How many resamples to draw.
        seed: Of a generator of its own, or the generator.

    Returns:
        The difference and its interval.

    Raises:
        InputError: As for :func:`bootstrap_ratio`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    ratios = [_ratio(parts, wholes), _ratio(other_parts, other_wholes)]
    if len(ratios[0][0]) != len(ratios[1][0]):
        raise InputError(
            f"parts has {len(ratios[0][0])} entries and other_parts {len(ratios[1][0])}; paired are values of the same "
            "prompts in one order."
        )
    return _ratio_interval(ratios, level, resamples, seed)


def resampled_means(
    values: ArrayLike, groups: ArrayLike, resamples: int = 10_000, seed: int | np.random.Generator = 0
) -> np.ndarray:
    """Mean = Σᵢ wᵢ·vᵢ / Σᵢ wᵢ over the prompts with a value, wᵢ being how often a resample drew prompt i.

    Prompts of each group are drawn with replacement among their own, the same ones for every row; so everything that is
    told of one prompt stays together, and differences of rows are paired.

    Args:
        values: (m, n), a figure, strength or method a row, a prompt a column; NaN where a prompt has no value.
        groups: (n,) labels: which prompts are drawn among one another, such as those of one task and kind.
        resamples: How many resamples to draw.
        seed: Of a generator of its own, or the generator.

    Returns:
        (resamples, m); NaN where a resample drew no prompt that has a value.

    Raises:
        InputError: If the shapes don't fit, a value is infinite, or there is no resample.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 8.2 (several samples).
    """
    found, labels = np.asarray(values, dtype=np.float64), np.asarray(groups)
    if found.ndim != 2 or labels.shape != found.shape[1:]:
        raise InputError(
            f"values has the shape {found.shape} and groups {labels.shape}; accepted are (rows, prompts) and one label "
            "a prompt."
        )
    if np.isinf(found).any():
        raise InputError("values holds an infinite value, and so has no mean. Cap it in everything you compare.")
    check_settings(0.5, resamples)
    names = list(dict.fromkeys(labels.tolist()))
    places = [np.flatnonzero(labels == name) for name in names]
    generators = np.random.default_rng(seed).spawn(len(names))
    there = ~np.isnan(found)
    filled, counted = np.where(there, found, 0).T, there.T.astype(np.float64)
    rows, means = max(1, DRAWS // max(1, len(labels))), []
    for start in range(0, resamples, rows):
        drawn = np.empty((min(rows, resamples - start), len(labels)))
        for generator, place in zip(generators, places, strict=True):
            count = len(place)
            drawn[:, place] = generator.multinomial(count, np.full(count, 1 / count), size=len(drawn))
        sums, weights = drawn @ filled, drawn @ counted
        means.append(np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0))
    return np.concatenate(means)


def percentiles(drawn: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of percentile intervals: the (1 ± level) / 2 quantiles over resamples.

    Args:
        drawn: (resamples, ...), as `resampled_means` gives them; NaN is left out.
        level: Coverage that is aimed at, between 0 and 1.

    Returns:
        (...) lower and upper ends; NaN where every resample is NaN.

    Raises:
        InputError: If the level is out of range.
    """
    check_settings(level, 1)
    holes = np.isnan(drawn)
    empty, ends = holes.all(axis=0), [(1 - level) / 2, (1 + level) / 2]
    # A column without any value would warn; its ends are put back to NaN. `nanquantile` goes column by column.
    filled = np.where(empty, 0.0, drawn)
    quantile = np.nanquantile if (holes & ~empty).any() else np.quantile
    low, high = quantile(filled, ends, axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def _ratio(parts: ArrayLike, wholes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = _column("parts", parts), _column("wholes", wholes)
    if len(first) != len(second) or len(first) < 2 or not (second > 0).all() or np.isnan(first).any():
        raise InputError(
            f"parts has {len(first)} entries and wholes {len(second)}; accepted are 2 or more of both without NaN, and "
            "wholes above 0. Measure more texts."
        )
    return first, second


def _ratio_interval(
    ratios: list[tuple[np.ndarray, np.ndarray]], level: float, resamples: int, seed: int | np.random.Generator
) -> Interval:
    check_settings(level, resamples)
    generator, count = np.random.default_rng(seed), len(ratios[0][0])
    rows = max(1, DRAWS // count)
    found = []
    for start in range(0, resamples, rows):
        drawn = generator.integers(count, size=(min(rows, resamples - start), count))
        values = [parts[drawn].sum(axis=1) / wholes[drawn].sum(axis=1) for parts, wholes in ratios]
        found.append(values[0] - sum(values[1:]))
    means = [float(parts.sum() / wholes.sum()) for parts, wholes in ratios]
    low, high = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2])
    return Interval(means[0] - sum(means[1:]), float(low), float(high), count)


def check_settings(level: float, resamples: int) -> None:
    """Refuse a coverage or a number of resamples that no interval can be made with.

    Raises:
        InputError: If either is out of range.
    """
    if not 0 < level < 1 or resamples < 1:
        raise InputError(
            f"level is {level} and resamples {resamples}; accepted are a level between 0 and 1, such as 0.95, and "
            "1 resample or more."
        )


def _column(name: str, values: ArrayLike) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise InputError(
            f"{name} has the shape {found.shape}; accepted is (n,), one value a prompt. Average over seeds first."
        )
    if np.isinf(found).any():
        raise InputError(
            f"{name} holds an infinite value, for prompt {int(np.isinf(found).argmax())}, and so has no mean. Cap "
            "it in everything you compare, for example the PSNR of identical pictures at 100 dB."
        )
    return found
