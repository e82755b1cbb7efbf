"""Which strengths a sweep draws: searched on tuning prompts by one rule, or given."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Grid:
    """Which strengths are drawn: the same rule and budget for every technique.

    On tuning prompts λ rises from `lowest` by factors of 2 until so much is removed, or so little of the control
    pictures' objects kept, or `highest` is reached. The centre is the first λ that removes `enough`, or, where none
    does, the one that removes most. What is judged lies around it.

    Args:
        lowest: The first λ of the search.
        highest: The last one.
        removed: The search ends once this share is removed.
        kept: The search ends once less than this share of the control pictures' objects is kept.
        enough: The removal that the centre has to reach.
        around: Factors of the centre that are judged, rising.
        strengths: The strengths themselves, for every technique alike; then nothing is searched.
    """

    lowest: float = 0.5
    highest: float = 32.0
    removed: float = 0.99
    kept: float = 0.5
    enough: float = 0.9
    around: Sequence[float] = (0.5, 0.75, 1.0, 1.5, 2.0)
    strengths: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_rising("around of the grid", self.around)
        if self.strengths is not None:
            check_rising("strengths of the grid", self.strengths)
        if not 0 < self.lowest <= self.highest < float("inf"):
            raise InputError(
                f"The grid goes from lowest={self.lowest} to highest={self.highest}; accepted are finite numbers above "
                "0, the highest not below the lowest."
            )

    def search(self) -> list[float]:
        """Give every λ that the search may draw, rising."""
        found = [self.lowest]
        while 2 * found[-1] <= self.highest:
            found.append(2 * found[-1])
        return found


def check_rising(name: str, values: Sequence[float]) -> None:
    """Refuse strengths, or factors of one, that are not finite numbers above 0, each above the one before.

    Args:
        name: What they are.
        values: The numbers.

    Raises:
        InputError: If one is not.
    """
    if not values or any(not 0 < value < float("inf") for value in values) or list(values) != sorted(set(values)):
        raise InputError(f"{name} is {list(values)}; accepted are finite numbers above 0, rising.")
