"""What distances of two sets of pictures share: how they are fed, and their check of features."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import InputError
from .base import Measure
from .images import Images


@dataclass(eq=False)
class SetDistance(Measure):
    """A distance between pictures and references, fed batch by batch with either or both."""

    higher_is_better: ClassVar[bool | None] = False

    def update(self, images: Images, references: Images, features: Callable[[Images], torch.Tensor]) -> None:
        """Take one batch of either or both; the numbers may differ.

        Args:
            images: PIL images, or (m, 3, height, width) floats in [0, 1]; may be empty.
            references: The same for the other set; may be empty.
            features: Gives (k, d) for k pictures, for example `ClipJudge.image_features`. It is not kept, so the
                measure stays small. Use the same for every batch.

        Raises:
            InputError: If features are no finite rows, where the measure can't wait for all of them.
        """
        for pictures, are_references in ((images, False), (references, True)):
            if len(pictures):
                self._take(features(pictures).detach().cpu(), are_references)

    def add(self, features: torch.Tensor, references: torch.Tensor) -> None:
        """Take one batch's features, (m, d) and (n, d), of either set.

        Raises:
            InputError: As `update` does.
        """
        self._take(features.detach().cpu(), are_references=False)
        self._take(references.detach().cpu(), are_references=True)

    @abstractmethod
    def _take(self, features: torch.Tensor, are_references: bool) -> None:
        """Add features, (n, d) without gradients on the CPU, to one of the two sets."""


def check_sets(measure: str, features: torch.Tensor, references: torch.Tensor) -> None:
    """Refuse features that a distance of sets can't be told from.

    Args:
        measure: What it is called.
        features: (m, d), of m pictures.
        references: (n, d), of n other pictures.

    Raises:
        InputError: If a set has fewer than 2 rows, lengths differ, or a value is not finite.
    """
    for name, rows in (("features", features), ("references", references)):
        if rows.ndim != 2 or len(rows) < 2 or not bool(torch.isfinite(rows).all()):
            raise InputError(
                f"{name} is a tensor of shape {tuple(rows.shape)}; {measure} needs finite features (n, d) of 2 "
                "pictures or more. Add pictures, and flatten the features of each one to a row."
            )
    if features.shape[1] != references.shape[1]:
        raise InputError(
            f"features have the length {features.shape[1]} and references {references.shape[1]}. Take both with the "
            "same model."
        )
