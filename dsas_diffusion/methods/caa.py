"""Contrastive activation addition: add the difference of the target and source means."""

from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .base import SteeringMethod, finite


class CAA(SteeringMethod):
    """T(t) = t + v,  v = mean(target) − mean(source).

    λ = 1 adds one difference of means; larger values extrapolate along it.

    References:
        Steering Llama 2 via Contrastive Activation Addition, arXiv 2312.06681.
    """

    name: ClassVar[str] = "caa"
    unit_strength: ClassVar[str] = "one difference of means; more extrapolates"
    cost: ClassVar[str] = "d additions"
    suits: ClassVar[str] = "The first thing to try: one vector, and it extrapolates well."
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the shift becomes 0."""
        self.register_buffer("shift", torch.zeros(channels))
        return self

    def fit(
        self,
        source: Float[Tensor, "n channels"],
        target: Float[Tensor, "m channels"],
        positions: Float[Tensor, "k channels"] | None = None,
    ) -> Self:
        """Learn the difference of means.

        Args:
            source: Source activations.
            target: Target activations.
            positions: Not needed.

        Raises:
            InputError: If an activation is not finite.
        """
        self.register_buffer("shift", finite("target", target).mean(0) - finite("source", source).mean(0))
        return self

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Add the shift."""
        return activation + self.shift.to(activation.dtype)
