"""What every measure shares: it keeps sums, so that batches and processes add up."""

import math
from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Self

from ..errors import InputError


@dataclass
class Measure(ABC):
    """One figure over many pictures, fed batch by batch.

    A subclass is a dataclass: fields without a default are its settings, fields with one are sums (numbers, or lists of
    per-picture values). It adds an `update(…)` that takes one batch. Instances are small and can be pickled, so
    processes send theirs to one of them, which merges.

    Attributes:
        higher_is_better: Whether a larger figure is the better one; `None` where that depends on the question.
    """

    higher_is_better: ClassVar[bool | None]

    @abstractmethod
    def compute(self) -> float:
        """Give the figure over everything seen so far; NaN while there is nothing to measure it on."""

    def merge(self, other: Self) -> Self:
        """Add another instance's sums, as if its batches had been seen here.

        Args:
            other: The same measure with the same settings; it stays as it is.

        Returns:
            This measure.

        Raises:
            InputError: If the other one measures something else.
        """
        settings = [
            field.name for field in fields(self) if field.default is MISSING and field.default_factory is MISSING
        ]
        if type(self) is not type(other) or any(getattr(self, name) != getattr(other, name) for name in settings):
            raise InputError(
                f"Can't merge {self!r} with {other!r}: measures add up only with their own kind and settings."
            )
        for field in fields(self):
            if field.name not in settings:
                setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


def share(part: float, whole: float) -> float:
    """Part / whole, and NaN where there is no whole: no picture to ask is not the same as 0 %."""
    return part / whole if whole else math.nan
