"""How much a picture differs from its unsteered twin, in the concept's region and on the rest."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import Measure, share
from .pixels import check_twins
from .regions import RIM, Part, check_masks, dilate, masked_mean


def change(images: torch.Tensor, twins: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Change = mean of |x − y| over channels and the mask's pixels.

    Args:
        images: (n, 3, height, width) floats in [0, 1].
        twins: The same shape; each the same prompt and seed drawn another way.
        masks: (n, height, width) bool, the pixels that count.

    Returns:
        (n,) float64 in [0, 1]; NaN where the mask is empty.

    Raises:
        InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
    """
    check_twins(images, twins)
    check_masks("masks", masks, images)
    return masked_mean((images.double() - twins.double()).abs().mean(dim=1), masks)


def change_of_part(images: torch.Tensor, twins: torch.Tensor, regions: torch.Tensor, part: Part) -> torch.Tensor:
    """Give `change` in the concept's region, or off the region grown by a rim of 2 pixels.

    Args:
        images: (n, 3, height, width) floats in [0, 1].
        twins: The same shape, their unsteered twins.
        regions: (n, height, width) bool, where the unsteered twins show the concept.
        part: Which of the two.

    Returns:
        (n,) float64 in [0, 1]; NaN where the part is empty.

    Raises:
        InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
    """
    check_masks("regions", regions, images)
    return change(images, twins, regions if part == "inside" else ~dilate(regions, RIM))


@dataclass
class _MeanChange(Measure):
    part: ClassVar[Part]

    total: float = 0.0
    pictures: int = 0
    skipped: int = 0

    def update(self, images: torch.Tensor, twins: torch.Tensor, regions: torch.Tensor) -> None:
        """Take one batch of twins.

        Args:
            images: (n, 3, height, width) floats in [0, 1].
            twins: The same shape, their unsteered twins.
            regions: (n, height, width) bool, where the unsteered twins show the concept.

        Raises:
            InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
        """
        self.add(change_of_part(images, twins, regions, self.part))

    def add(self, values: torch.Tensor) -> None:
        """Take one batch's `change_of_part`, (n,), NaN where there is nothing to measure on."""
        counted = ~values.isnan()
        self.total += float(values[counted].sum())
        self.pictures += int(counted.sum())
        self.skipped += int((~counted).sum())

    def compute(self) -> float:
        return share(self.total, self.pictures)


@dataclass
class ChangeInside(_MeanChange):
    """Mean over pairs of `change` in the concept's region; pairs without a region are counted in `skipped`."""

    higher_is_better: ClassVar[bool | None] = None  # a removal has to change it, by how much depends on the scene
    part: ClassVar[Part] = "inside"


@dataclass
class ChangeOutside(_MeanChange):
    """Mean over pairs of `change` off the concept's region grown by a rim of 2 pixels.

    Without a region that is the whole picture; pairs with no pixel left are counted in `skipped`.
    """

    higher_is_better: ClassVar[bool | None] = False
    part: ClassVar[Part] = "outside"
