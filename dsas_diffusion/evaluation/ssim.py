"""Structural similarity of a picture to its unsteered twin."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from ..errors import InputError
from .base import Measure, share
from .pixels import check_twins, luminance

WINDOW = 11  # pixels
SIGMA = 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2  # (K · L)² with the range of values L = 1


def ssim(images: torch.Tensor, twins: torch.Tensor) -> torch.Tensor:
    """SSIM = mean over windows of (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂)).

    μ, σ² and σxy are means, variances and covariances of luminance under an 11×11 Gaussian window with σ = 1.5 pixels;
    C₁ = 0.01², C₂ = 0.03². Only windows that lie wholly in the picture count. Pictures are not made smaller first, as
    the authors' later script does above 256 pixels.

    Args:
        images: (n, 3, height, width) floats in [0, 1], 11 pixels or more each way.
        twins: The same shape; each the same prompt and seed drawn another way.

    Returns:
        (n,) float64 in [-1, 1]; 1 where both have the same luminance.

    Raises:
        InputError: If shapes differ, a side is under 11 pixels, values are not finite, or lie outside [0, 1].

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE Transactions on
    Image Processing 13(4), 2004, equation 13 and section III.C.
    """
    check_twins(images, twins)
    if min(images.shape[-2:]) < WINDOW:
        raise InputError(
            f"images are {images.shape[-1]}×{images.shape[-2]} pixels, smaller than SSIM's window of "
            f"{WINDOW}×{WINDOW}. Use PSNR for such pictures, or generate larger ones."
        )
    x, y = luminance(images), luminance(twins)
    mean_x, mean_y, xx, yy, xy = (_blur(values) for values in (x, y, x * x, y * y, x * y))
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    closeness = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variance_x + variance_y + C2)
    return (closeness * structure).flatten(1).mean(dim=1)


@dataclass
class MeanSsim(Measure):
    """Mean over pairs of `ssim`."""

    higher_is_better: ClassVar[bool | None] = True

    total: float = 0.0
    pictures: int = 0

    def update(self, images: torch.Tensor, twins: torch.Tensor) -> None:
        """Take one batch of twins; see `ssim` for shapes and errors."""
        self.add(ssim(images, twins))

    def add(self, values: torch.Tensor) -> None:
        """Take one batch's `ssim`, (n,)."""
        self.total += float(values.sum())
        self.pictures += len(values)

    def compute(self) -> float:
        return share(self.total, self.pictures)


def _blur(values: torch.Tensor) -> torch.Tensor:
    # (n, height, width) → (n, height − 10, width − 10): the Gaussian along one side, then along the other.
    offsets = torch.arange(WINDOW, dtype=values.dtype, device=values.device) - WINDOW // 2
    weights = (-(offsets**2) / (2 * SIGMA**2)).exp()
    weights = weights / weights.sum()
    columns = F.conv2d(values.unsqueeze(1), weights.reshape(1, 1, -1, 1))
    return F.conv2d(columns, weights.reshape(1, 1, 1, -1)).squeeze(1)
