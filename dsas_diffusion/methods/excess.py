"""The base of maps that move an activation as far as it exceeds a threshold along a direction."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from .base import SteeringMethod, finite


class Excess(NamedTuple):
    """What such a map is.

    Args:
        direction: (channels,) u, along which an activation is read.
        change: (channels,) v, along which it moves.
        threshold: (), c, the reading from which on it does.
    """

    direction: Tensor
    change: Tensor
    threshold: Tensor


class ExcessMap(SteeringMethod):
    """T(t) = t + ReLU(u · t − c) v; subclasses learn u, v and c in `learned`."""

    cost: ClassVar[str] = "2 d"
    direction: Tensor
    change: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; there is no direction."""
        return self._take(Excess(torch.zeros(channels), torch.zeros(channels), torch.tensor(0.0)))

    @abstractmethod
    def learned(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Excess:
        """Give u, v and c, in float32.

        Args:
            source: Finite source activations.
            target: Finite target activations.
        """

    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Learn how to read the concept, and what goes with it.

        Args:
            source: Source activations.
            target: Target activations.

        Raises:
            InputError: If an activation is not finite, both means are the same, or the subclass's map can't be learned.
        """
        return self._take(self.learned(finite("source", source), finite("target", target)))

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Move along the change by the excess."""
        t = activation.float()
        excess = (t @ self.direction - self.threshold).relu()
        return (t + excess.unsqueeze(-1) * self.change).to(activation.dtype)

    def _take(self, excess: Excess) -> Self:
        for name, value in excess._asdict().items():
            self.register_buffer(name, value)
        return self
