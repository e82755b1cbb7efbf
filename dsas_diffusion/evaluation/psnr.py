"""Peak signal-to-noise ratio of a picture to its unsteered twin, in dB."""

import statistics
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from ..errors import InputError
from .base import Measure


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
    if images.shape != twins.shape or images.ndim != 4:
        raise InputError(
            f"images and twins have the shapes {tuple(images.shape)} and {tuple(twins.shape)}; PSNR compares two "
            "tensors of one shape (n, channels, height, width). Resize neither: generate both at the same size."
        )
    for name, values in (("images", images), ("twins", twins)):
        if not values.is_floating_point() or not bool(((values >= 0) & (values <= 1)).all()):
            raise InputError(f"{name} must be floats in [0, 1]. Divide 8-bit values by 255, clamp a decoder's output.")
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
        self.values.extend(psnr(images, twins).tolist())

    def compute(self) -> float:
        return statistics.median(self.values) if self.values else float("nan")
