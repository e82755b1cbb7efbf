"""Vanilla steering: the gate that is open everywhere."""

from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .base import Gate, Samples


class AlwaysGate(Gate):
    """h(t) = 1.

    With it the site weight is 1 too, so that steering is what the method does by itself.

    References:
        Dynamically Scaled Activation Steering, arXiv 2512.03661, section 3: vanilla steering is h = 1.
    """

    name: ClassVar[str] = "always"
    unit: ClassVar[str] = "none"
    cost: ClassVar[str] = "none"
    suits: ClassVar[str] = "To see what a method does by itself."
    weighted: ClassVar[bool] = False

    def reset(self, channels: int) -> Self:
        """Nothing to forget."""
        return self

    def fit(self, source: Samples, control: Samples) -> Self:
        """Nothing to learn."""
        return self

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give 1 for every position."""
        return torch.ones(activation.shape[:-1], device=activation.device)
