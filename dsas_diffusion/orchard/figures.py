"""One figure of Orchard: what was measured, how surely, and what is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def wilson_interval(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """(p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n), the score interval of a share p = hits / n.

    Args:
        hits: How many of the n.
        n: At least 1.
        z: Quantile of the normal distribution; 1.96 for 95 %.

    Returns:
        Lower and upper end, in [0, 1].

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    share = hits / n
    middle = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    whole = 1 + z * z / n
    # Rounding must not put the share itself outside.
    return min(share, max(0.0, (middle - reach) / whole)), max(share, min(1.0, (middle + reach) / whole))


@dataclass(frozen=True)
class Figure:
    """A measured figure beside what is asked of it.

    Attributes:
        model: ``"scenes"``, ``"detector"``, ``"clip"``, ``"unet"``, ``"dit"`` or ``"language"``.
        name: What was measured.
        value: The figure, in [0, 1].
        asked: The least and the largest value that are accepted.
        n: On how many scenes or prompts.
        interval: The 95 % interval.
        parts: The same figure on parts of the sample: name → (value, n).
    """

    model: str
    name: str
    value: float
    asked: tuple[float, float]
    n: int
    interval: tuple[float, float]
    parts: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the figure is what is asked."""
        return self.asked[0] <= self.value <= self.asked[1]

    def as_record(self) -> dict[str, Any]:
        """Give the figure as plain values for a JSON file."""
        return {
            "model": self.model,
            "figure": self.name,
            "value": self.value,
            "asked": list(self.asked),
            "met": self.met,
            "n": self.n,
            "interval": list(self.interval),
            "parts": {name: {"value": value, "n": n} for name, (value, n) in self.parts.items()},
        }


class Tally:
    """Counts or averages outcomes, in all and by part, until they make a figure."""

    def __init__(self) -> None:
        self._outcomes: list[float] = []
        self._parts: dict[str, list[float]] = {}

    def add(self, outcome: float, *parts: str) -> None:
        """Add one outcome in [0, 1], and count it for the named parts too."""
        self._outcomes.append(float(outcome))
        for part in parts:
            self._parts.setdefault(part, []).append(float(outcome))

    def share(self, model: str, name: str, least: float, largest: float = 1.0) -> Figure:
        """Give the share of outcomes that are 1, with Wilson's interval."""
        hits, n = round(sum(self._outcomes)), len(self._outcomes)
        interval = wilson_interval(hits, n) if n else (math.nan, math.nan)
        return Figure(model, name, self._mean(self._outcomes), (least, largest), n, interval, self._by_part())

    def mean(self, model: str, name: str, least: float, largest: float = 1.0) -> Figure:
        """Give the mean of the outcomes, with the normal interval."""
        mean, n = self._mean(self._outcomes), len(self._outcomes)
        spread = math.sqrt(sum((x - mean) ** 2 for x in self._outcomes) / (n - 1)) if n > 1 else math.nan
        reach = 1.959964 * spread / math.sqrt(n) if n else math.nan
        return Figure(model, name, mean, (least, largest), n, (mean - reach, mean + reach), self._by_part())

    def _by_part(self) -> dict[str, tuple[float, int]]:
        return {part: (self._mean(outcomes), len(outcomes)) for part, outcomes in sorted(self._parts.items())}

    @staticmethod
    def _mean(outcomes: list[float]) -> float:
        return sum(outcomes) / len(outcomes) if outcomes else math.nan
