"""Choices with exact probabilities: drawn at random, or all of them in turn."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Chooser(Protocol):
    """Makes the choices of a text. What is told depends on nothing else."""

    #: Σ log p over the choices made so far.
    log_probability: float

    def choose(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """Choose one of the options, by weights that sum to 1; evenly without."""

    def chance(self, p: float) -> bool:
        """Say yes with probability p."""


class Draw:
    """Draws every choice at random.

    Args:
        rng: Source of randomness; the same state gives the same choices.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.log_probability = 0.0

    def choose(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        if weights is None:
            self.log_probability -= math.log(len(options))
            return options[int(self._rng.random() * len(options))]
        left, chosen = self._rng.random() - weights[0], 0
        while left >= 0 and chosen + 1 < len(options):
            chosen += 1
            left -= weights[chosen]
        self.log_probability += math.log(weights[chosen])
        return options[chosen]

    def chance(self, p: float) -> bool:
        yes = self._rng.random() < p
        self.log_probability += math.log(p if yes else 1 - p)
        return yes


class _Replay:
    """Makes given choices, then always the first, and remembers how many there were each time."""

    def __init__(self, given: Sequence[int]) -> None:
        self._given = given
        self.taken: list[tuple[int, int]] = []
        self.log_probability = 0.0

    def choose(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        place = len(self.taken)
        chosen = self._given[place] if place < len(self._given) else 0
        self.taken.append((chosen, len(options)))
        self.log_probability += math.log(1 / len(options) if weights is None else weights[chosen])
        return options[chosen]

    def chance(self, p: float) -> bool:
        return self.choose((True, False), (p, 1 - p))


def every(tell: Callable[[Chooser], T]) -> Iterator[tuple[T, float]]:
    """Make every choice in turn.

    Args:
        tell: Makes choices and returns something; the same choices give the same.

    Yields:
        What was returned, and the logarithm of its probability.
    """
    given: list[int] = []
    while True:
        replay = _Replay(given)
        yield tell(replay), replay.log_probability
        while replay.taken and replay.taken[-1][0] + 1 == replay.taken[-1][1]:
            replay.taken.pop()
        if not replay.taken:
            return
        given = [chosen for chosen, _ in replay.taken]
        given[-1] += 1
