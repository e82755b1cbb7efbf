"""The contract of a steering method, and METHODS: every method by name."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..core.registry import Named, Registry
from ..errors import InputError


class SteeringMethod(Named, nn.Module, ABC):
    """A map T from an activation to its steered version, learned from source and target activations.

    `__init__` stores settings, `reset` gives shapes, `fit` learns and returns self, `forward` is pure. Everything
    learned is a buffer, so that `state_dict` is the whole method. Before a fit the map is the identity. A second fit
    forgets the first. The strength λ is no business of the map: λ blends T(t) with t afterwards (`core.steer`).
    """

    #: What λ = 1 means, for tables and help.
    unit_strength: ClassVar[str]
    #: Operations for each position of d channels, for tables.
    cost: ClassVar[str]
    #: When to take it, for tables.
    suits: ClassVar[str]
    #: Whether `fit` reads target activations.
    needs_target: ClassVar[bool] = True
    #: Whether it is trained through the model, at all sites together, and not by `fit` at each.
    needs_gradients: ClassVar[bool] = False

    @abstractmethod
    def reset(self, channels: int) -> Self:
        """Forget what was learned and take the shape of a site.

        Args:
            channels: Channels of the site.
        """

    @abstractmethod
    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Learn the map.

        Args:
            source: Source activations, averaged over pictures or of single places; on the processor (CPU), of any
                floating type.
            target: Target activations, likewise.

        Returns:
            The method itself.
        """

    def see_positions(self, positions: Float[Tensor, "k channels"]) -> None:
        """Look, after a fit, at single source positions from anywhere in the pictures; most maps need not.

        Args:
            positions: Their activations.
        """

    @property
    def averages(self) -> bool:
        """Whether a position's change depends on the average over all, as only a whole picture at once has it."""
        return False

    @abstractmethod
    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Give T(t) for every position.

        Args:
            activation: t, channels last.

        Returns:
            T(t), same shape and dtype.
        """


REGISTERED = SteeringMethod
#: Name → class, of every method in this package.
METHODS: Registry[SteeringMethod] = Registry("dsas_diffusion.methods", "steering method")


def unit(direction: Float[Tensor, "channels"]) -> Float[Tensor, "channels"]:
    """Scale a direction to length 1.

    Raises:
        InputError: If it has no length.
    """
    length = direction.norm()
    if length == 0:
        raise InputError(
            "The mean source activation is the mean target activation, so there is no direction to steer along. Check "
            "that source and target prompts draw different pictures."
        )
    return direction / length


def finite(name: str, values: Tensor) -> Tensor:
    """Return `values` in float32, or raise if there are none or one is not a number.

    Raises:
        InputError: If there is no value, or one is NaN or infinite.
    """
    if not len(values):
        raise InputError(
            f"There are no {name} activations to learn a map from: no recorded position of this site lies inside the "
            "concept's region. Use map_from='pooled', more positions, or sites on a finer grid."
        )
    if not torch.isfinite(values).all():
        bad = int((~torch.isfinite(values)).any(dim=-1).sum())
        raise InputError(
            f"{bad} of {len(values)} {name} activations hold NaN or infinite values, so nothing can be learned from "
            "them. Look at the pictures that the pipeline draws for these prompts; load it in float32 or bfloat16 "
            "if it overflows in float16."
        )
    return values.float()
