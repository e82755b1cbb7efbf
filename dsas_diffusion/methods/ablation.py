"""Directional ablation: take the concept's direction out of every activation."""

from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .base import SteeringMethod, finite, unit


class DirectionalAblation(SteeringMethod):
    """T(t) = t − (u · t) u,  u = v / |v|,  v = mean(source) − mean(target).

    λ = 1 leaves no projection on u; λ = 2 reflects at it.

    References:
        Refusal in Language Models Is Mediated by a Single Direction, arXiv 2406.11717, equation 4.
    """

    name: ClassVar[str] = "ablation"
    unit_strength: ClassVar[str] = "no projection on the concept's direction is left; 2 reflects it"
    cost: ClassVar[str] = "2 d"
    suits: ClassVar[str] = "Where the concept is one direction, and nothing should be put in its place."
    direction: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; there is no direction."""
        self.register_buffer("direction", torch.zeros(channels))
        return self

    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Learn the direction.

        Args:
            source: Source activations.
            target: Target activations.

        Raises:
            InputError: If an activation is not finite, or both means are the same.
        """
        difference = finite("source", source).mean(0) - finite("target", target).mean(0)
        self.register_buffer("direction", unit(difference))
        return self

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Take the projection away."""
        t = activation.float()
        return (t - (t @ self.direction).unsqueeze(-1) * self.direction).to(activation.dtype)
