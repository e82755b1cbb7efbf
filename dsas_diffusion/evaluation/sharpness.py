"""Sharpness of a picture over that of its unsteered twin, in the concept's region and on the rest."""

import statistics
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.nn import functional as F

from .base import Measure
from .pixels import check_pixels, check_twins, luminance
from .regions import RIM, Part, check_masks, dilate, erode, masked_mean

SMALLEST = 16  # pixels; the variance over fewer says little


def sharpness(images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Sharpness = variance over the mask of ΔY, where ΔY is up + down + left + right − 4 · centre of luminance.

    At the picture's edge the missing neighbour counts as the pixel itself.

    Args:
        images: (n, 3, height, width) floats in [0, 1].
        masks: (n, height, width) bool, the pixels that count.

    Returns:
        (n,) float64, 0 or more; NaN where the mask is empty.

    Raises:
        InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy: a comparative study, ICPR 2000.
    """
    check_pixels("images", images)
    grey = luminance(images)
    check_masks("masks", masks, images)
    padded = F.pad(grey.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    # As differences, so that a flat picture gives 0 and no rounding error.
    vertical = (padded[:, :-2, 1:-1] - grey) + (padded[:, 2:, 1:-1] - grey)
    horizontal = (padded[:, 1:-1, :-2] - grey) + (padded[:, 1:-1, 2:] - grey)
    laplacian = vertical + horizontal
    centred = laplacian - masked_mean(laplacian, masks).reshape(-1, 1, 1)
    return masked_mean(centred.square(), masks)


def sharpness_ratio(images: torch.Tensor, twins: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Ratio = sharpness(steered) / sharpness(unsteered) over one mask: under 1 where steering blurs.

    Args:
        images: (n, 3, height, width) floats in [0, 1], steered.
        twins: The same shape, their unsteered twins.
        masks: (n, height, width) bool, the pixels that count.

    Returns:
        (n,) float64, 0 or more; NaN where the mask is empty or the twin is flat there, with nothing to blur.

    Raises:
        InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
    """
    check_twins(images, twins)
    before = sharpness(twins, masks)
    return torch.where(before > 0, sharpness(images, masks) / before, torch.nan)


def sharpness_of_part(images: torch.Tensor, twins: torch.Tensor, regions: torch.Tensor, part: Part) -> torch.Tensor:
    """Give `sharpness_ratio` in the concept's region shrunk by the rim, or on the rest off the region grown by it.

    Args:
        images: (n, 3, height, width) floats in [0, 1], steered.
        twins: The same shape, their unsteered twins.
        regions: (n, height, width) bool, where the unsteered twins show the concept.
        part: Which of the two.

    Returns:
        (n,) float64, 0 or more; NaN where the part has under 16 pixels or the twin is flat there.

    Raises:
        InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
    """
    check_masks("regions", regions, images)
    masks = erode(regions, RIM) if part == "inside" else ~dilate(regions, RIM)
    ratios = sharpness_ratio(images, twins, masks)
    return torch.where(masks.flatten(1).sum(dim=1) >= SMALLEST, ratios, torch.nan)


@dataclass
class _MedianSharpnessRatio(Measure):
    higher_is_better: ClassVar[bool | None] = None  # 1 is best: less is a blur, more is new texture
    part: ClassVar[Part]

    ratios: list[float] = field(default_factory=list)
    skipped: int = 0

    def update(self, images: torch.Tensor, twins: torch.Tensor, regions: torch.Tensor) -> None:
        """Take one batch of twins.

        Args:
            images: (n, 3, height, width) floats in [0, 1], steered.
            twins: The same shape, their unsteered twins.
            regions: (n, height, width) bool, where the unsteered twins show the concept.

        Raises:
            InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
        """
        self.add(sharpness_of_part(images, twins, regions, self.part))

    def add(self, values: torch.Tensor) -> None:
        """Take one batch's `sharpness_of_part`, (n,), NaN where there is nothing to measure on."""
        counted = ~values.isnan()
        self.ratios.extend(values[counted].tolist())
        self.skipped += int((~counted).sum())

    def compute(self) -> float:
        return statistics.median(self.ratios) if self.ratios else float("nan")


@dataclass
class SharpnessInside(_MedianSharpnessRatio):
    """Median over pairs of `sharpness_ratio` in the concept's region, shrunk by a rim of 2 pixels.

    Pairs with under 16 such pixels, or with a flat twin, are left out and counted in `skipped`.
    """

    part: ClassVar[Part] = "inside"


@dataclass
class SharpnessOutside(_MedianSharpnessRatio):
    """Median over pairs of `sharpness_ratio` on the rest, off the concept's region grown by a rim of 2 pixels.

    A picture without the concept is all rest. Pairs with under 16 such pixels, or with a flat twin, are left out and
    counted in `skipped`.
    """

    part: ClassVar[Part] = "outside"
