"""Timing variants beside one another: in turn, each round in another order; and the ratios of what they took."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap


def in_turn(names: Sequence[str], rounds: int) -> Iterator[tuple[str, bool]]:
    """Give every name once a round, each round beginning with another one.

    Args:
        names: What is timed.
        rounds: How many rounds count.

    Yields:
        A name, and whether its time counts: the first round warms up.
    """
    for number in range(rounds + 1):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            yield name, number > 0


def ratio(taken: ArrayLike, base: ArrayLike) -> tuple[float, float, float]:
    """Give the median of paired ratios, and its 95 % bootstrap interval.

    Args:
        taken: Seconds, one a round.
        base: Those of the same rounds without.
    """
    ratios = np.asarray(taken) / np.asarray(base)
    low, high = bootstrap((ratios,), np.median, rng=0, method="percentile").confidence_interval
    return float(np.median(ratios)), float(low), float(high)
