"""How many continuations are their unsteered twins', word for word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import Measure, share


def unchanged(texts: Sequence[str], twins: Sequence[str]) -> NDArray[np.bool_]:
    """Unchanged = the same text.

    Args:
        texts: n continuations.
        twins: The n continuations of the same prompts with the same seeds, made another way.

    Returns:
        (n,) bool.
    """
    return np.array([text == twin for text, twin in zip(texts, twins, strict=True)], dtype=bool)


@dataclass
class Unchanged(Measure):
    """Share of continuations that are `unchanged`."""

    higher_is_better: ClassVar[bool | None] = True

    same: int = 0
    texts: int = 0

    def update(self, texts: Sequence[str], twins: Sequence[str]) -> None:
        """Take one batch; see `unchanged`."""
        found = unchanged(texts, twins)
        self.same += int(found.sum())
        self.texts += len(found)

    def compute(self) -> float:
        return share(self.same, self.texts)
