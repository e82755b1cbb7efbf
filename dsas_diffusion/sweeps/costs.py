"""What a technique costs while pictures are drawn: time beside the pipeline's own, in interleaved pairs."""

import statistics
import time
from typing import Final

import numpy as np
from scipy.stats import bootstrap

from .technique import Technique
from .unit import Arena

PAIRS: Final = 9
#: Pictures in each timed call.
BATCH: Final = 4


def cost(arena: Arena, technique: Technique, strength: float) -> dict[str, float]:
    """Time one batch with the technique and without, in turn.

    Args:
        arena: The task, whose held-out prompts are drawn.
        technique: The technique, prepared.
        strength: How strongly.

    Returns:
        `"ratio"`, the median of the pairs' ratios, with its 95 % bootstrap interval as `"ratio_low"` and
        `"ratio_high"`; `"seconds"` a picture without it.
    """
    kind = next(iter(arena.prompts["heldout"]))

    def seconds() -> float:
        began = time.perf_counter()
        arena.draw("heldout", kind, 0, 0, count=BATCH)
        return time.perf_counter() - began

    def with_it() -> float:
        with technique.applied(arena.pipe, strength) as arguments:
            began = time.perf_counter()
            arena.draw("heldout", kind, 0, 0, arguments, count=BATCH)
            return time.perf_counter() - began

    seconds()
    with_it()
    pairs = []
    for number in range(PAIRS):
        sides = (with_it, seconds) if number % 2 else (seconds, with_it)
        times = {side: side() for side in sides}
        pairs.append((times[with_it], times[seconds]))
    ratios = [steered / plain for steered, plain in pairs]
    interval = bootstrap((ratios,), np.median, rng=0, method="percentile").confidence_interval
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": float(interval.low),
        "ratio_high": float(interval.high),
        "seconds": statistics.median(plain for _, plain in pairs) / BATCH,
    }
