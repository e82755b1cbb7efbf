"""What gradient descent can train: maps and gates that follow parameters given in units of their site."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor


class Units(NamedTuple):
    """A site's mean and spread. Parameters are trained in them, so that one learning rate serves sites of any scale.

    Args:
        mean: (channels,).
        spread: Standard deviation, its root mean square over channels.
    """

    mean: Float[Tensor, "channels"]
    spread: float

    @classmethod
    def of(cls, activations: Float[Tensor, "n channels"]) -> "Units":
        """Measure activations; where nothing spreads, the unit is 1."""
        variance = activations.float().var(dim=0, correction=0).mean().item()
        return cls(activations.float().mean(dim=0), variance**0.5 or 1.0)


class Trainable(ABC):
    """A map or gate whose buffers can follow parameters, differentiably."""

    @abstractmethod
    def parameters_in(self, units: Units) -> dict[str, Tensor]:
        """Give what is learned as parameters without a unit; a map's are all 0 where it is the identity.

        Args:
            units: Of the site.
        """

    @abstractmethod
    def follow(self, parameters: Mapping[str, Tensor], units: Units) -> None:
        """Set the buffers from parameters; gradients flow back to them.

        Args:
            parameters: As given by `parameters_in`.
            units: Of the site.
        """


class TrainableMap(Trainable):
    """A map that can be trained, with what its loss is made of."""

    #: The power of the Wasserstein distance, 1 or 2.
    p: int = 2
    #: l₁ of the sparse group lasso on its parameters.
    l1: float = 0.0
    #: g of it.
    group: float = 0.0

    @abstractmethod
    def touched(self) -> int:
        """Count the channels that the map changes at all: its support size."""


class TrainableGate(Trainable):
    """A gate that can be trained together with the maps."""

    #: Whether gradients reach all that it learned; not so behind a step, or with factors that are read elsewhere.
    trains: ClassVar[bool] = True
