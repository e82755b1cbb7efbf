"""What a technique costs while pictures are drawn: time beside the pipeline's own, in interleaved pairs."""

import statistics
import time
from contextlib import nullcontext
from typing import Final

from ..evaluation.timing import in_turn, ratio
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

    taken: dict[str, list[float]] = {"without": [], "with": []}
    for name, counts in in_turn(list(taken), PAIRS):
        with technique.applied(arena.pipe, strength) if name == "with" else nullcontext() as arguments:
            began = time.perf_counter()
            arena.draw("heldout", kind, 0, 0, arguments, count=BATCH)
            if counts:
                taken[name].append(time.perf_counter() - began)
    middle, low, high = ratio(taken["with"], taken["without"])
    seconds = statistics.median(taken["without"]) / BATCH
    return {"ratio": middle, "ratio_low": low, "ratio_high": high, "seconds": seconds}
