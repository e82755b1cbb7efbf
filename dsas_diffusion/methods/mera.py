"""MERA: the smallest shift that takes a probe down to its threshold."""

from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.probe import checked_components, folded_classifier
from ..errors import InputError
from .base import SteeringMethod, finite


class Mera(SteeringMethod):
    """T(t) = t − ReLU(w · t + c − logit α) w / |w|²,  σ(w · t + c) a probe for source against target.

    The shift of least length after which the probe says α; nothing where it says less already. λ = 1 lands on the
    threshold; other values have no meaning of their own.

    Args:
        alpha: α in (0, 1): what the probe may still say.
        components: Principal components of the probe.

    Raises:
        InputError: If α is out of range.

    References:
        MERA, arXiv 2510.13290, the closed form of its optimal shift; that the probe goes through PCA is ours.
    """

    name: ClassVar[str] = "mera"
    unit_strength: ClassVar[str] = "the probe says α; other values have no meaning of their own"
    cost: ClassVar[str] = "2 d"
    suits: ClassVar[str] = "Where a probe is trusted and the change should be as small as it can be."
    weight: Tensor
    bias: Tensor

    def __init__(self, alpha: float = 0.5, components: int = 20) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise InputError(f"alpha must be in (0, 1), but is {alpha}. The default is 0.5.")
        self.alpha, self.components = alpha, checked_components(components)
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; nothing is shifted."""
        self.register_buffer("weight", torch.zeros(channels))
        self.register_buffer("bias", torch.tensor(-torch.inf))
        return self

    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Learn the probe.

        Args:
            source: Source activations.
            target: Target activations.

        Raises:
            InputError: If an activation is not finite.
        """
        weight, bias = folded_classifier(finite("source", source), finite("target", target), self.components)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        return self

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Shift what the probe finds down to its threshold."""
        t = activation.float()
        limit = torch.logit(torch.tensor(self.alpha))
        excess = (t @ self.weight + self.bias - limit).relu()
        length = self.weight.square().sum().clamp(min=torch.finfo(torch.float32).tiny)
        return (t - (excess / length).unsqueeze(-1) * self.weight).to(activation.dtype)
