"""Contrastive activation addition: add the difference of the target and source means."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from .shift import ShiftMap


class CAA(ShiftMap):
    """T(t) = t + v,  v = mean(target) − mean(source).

    λ = 1 adds one difference of means; larger values extrapolate along it.

    References:
        Steering Llama 2 via Contrastive Activation Addition, arXiv 2312.06681.
    """

    name: ClassVar[str] = "caa"
    unit_strength: ClassVar[str] = "one difference of means; more extrapolates"
    suits: ClassVar[str] = "The first thing to try: one vector, and it extrapolates well."

    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> Float[Tensor, "channels"]:
        """Give the difference of means."""
        return target.mean(0) - source.mean(0)
