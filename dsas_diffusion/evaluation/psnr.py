"""Peak signal-to-noise ratio of a picture to its unsteered twin, in dB."""

import statistics
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from .base import Measure
from .pixels import check_twins


def psnr(images: torch.Tensor, twins: torch.Tensor) -> torch.Tensor:
    """PSNR = 10 · log₁₀(1 / mean((x − y)²)), the mean over channels and pixels, for values in [0, 1].

    Args:
        images: (n, 3, height, width) floats in [0, 1].
        twins: The same shape; each the same prompt and seed drawn another way.

    Returns:
        (n,) float64 in dB, never negative; infinite where both pictures are identical.

    Raises:
        InputError: If shapes differ, values are not finite, or lie outside [0, 1].
    """
    check_twins(images, twins)
    error = (images.double() - twins.double()).square().flatten(1).mean(dim=1)
    return -10 * torch.log10(error)


@dataclass
class MedianPsnr(Measure):
    """Median over pairs of `psnr`, in dB. It keeps one number a pair, since medians don't add up.

    Identical pairs count as infinite, so the median is infinite once half of the pairs are identical.
    """

    higher_is_better: ClassVar[bool | None] = True

    values: list[float] = field(default_factory=list)

    def update(self, images: torch.Tensor, twins: torch.Tensor) -> None:
        """Take one batch of twins; see `psnr` for shapes and errors."""
        self.add(psnr(images, twins))

    def add(self, values: torch.Tensor) -> None:
        """Take one batch's `psnr`, (n,)."""
        self.values.extend(values.tolist())

    def compute(self) -> float:
        return statistics.median(self.values) if self.values else float("nan")
