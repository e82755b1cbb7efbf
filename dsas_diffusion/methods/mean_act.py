"""Mean-AcT: shift each channel by the difference of means, where the map has seen data."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .affine import AffineMap


class MeanAcT(AffineMap):
    """T(t) = t + mean(b) − mean(a) where lo ≤ t ≤ hi.

    CAA with a support. λ = 1 moves the mean all the way; larger values go past it.

    References:
        Controlling Language and Diffusion Models by Transporting Activations, arXiv 2410.23054, section 3.
    """

    name: ClassVar[str] = "mean_act"
    unit_strength: ClassVar[str] = "the full shift of means; more goes past the target"
    cost: ClassVar[str] = "3 d"
    suits: ClassVar[str] = "As CAA, where activations far from what was seen must not be moved."
    scales: ClassVar[bool] = False

    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> tuple[Float[Tensor, "channels"], Float[Tensor, "channels"]]:
        """Give w = 1 and b = mean(target) − mean(source)."""
        return torch.ones(source.shape[1]), target.mean(0) - source.mean(0)
