"""The base of maps that add one vector to every activation."""

from abc import abstractmethod
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .base import SteeringMethod, finite


class ShiftMap(SteeringMethod):
    """T(t) = t + v; subclasses learn v in `learned`."""

    cost: ClassVar[str] = "d additions"
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the shift becomes 0."""
        self.register_buffer("shift", torch.zeros(channels))
        return self

    @abstractmethod
    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> Float[Tensor, "channels"]:
        """Give v.

        Args:
            source: Finite source activations.
            target: Finite target activations.
        """

    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Learn the shift.

        Args:
            source: Source activations.
            target: Target activations.

        Raises:
            InputError: If an activation is not finite, or source and target can't be told apart where v needs a
                direction.
        """
        self.register_buffer("shift", self.learned(finite("source", source), finite("target", target)))
        return self

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Add the shift."""
        return activation + self.shift.to(activation.dtype)
