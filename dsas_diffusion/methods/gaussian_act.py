"""Gaussian-AcT: the optimal transport between two normal distributions, channel by channel."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .affine import AffineMap

#: A channel whose source values spread less keeps its scale, as in the paper's code.
SMALLEST_STD = 1e-4


class GaussianAcT(AffineMap):
    """T(t) = (σ_b / σ_a) t + mean(b) − (σ_b / σ_a) mean(a) where lo ≤ t ≤ hi.

    λ = 1 is the full transport; more overshoots, and flips a channel where w < 1 − 1/λ.

    References:
        Controlling Language and Diffusion Models by Transporting Activations, arXiv 2410.23054, section 3.
    """

    name: ClassVar[str] = "gaussian_act"
    unit_strength: ClassVar[str] = "the full transport; more overshoots and may flip a channel"
    cost: ClassVar[str] = "3 d"
    suits: ClassVar[str] = "Where source and target differ in spread as well as in place, and samples are few."

    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> tuple[Float[Tensor, "channels"], Float[Tensor, "channels"]]:
        """Give the ratio of standard deviations, and the shift that brings the means together."""
        before, after = source.double(), target.double()
        spread = before.std(0, correction=0)
        scale = torch.where(spread > SMALLEST_STD, after.std(0, correction=0) / spread, torch.ones_like(spread))
        return scale, after.mean(0) - scale * before.mean(0)
