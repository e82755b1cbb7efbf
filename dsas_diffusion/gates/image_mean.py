"""One score a picture: the paper's gate on the picture's mean activation, the same at every position."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .logistic import PICTURE_COMPONENTS, LogisticGate


class ImageMeanGate(LogisticGate):
    """h(t) = g(σ(w · t̄ + c)),  t̄ the mean over the picture's positions,  g(h) = h where h ≥ h₀, else 0.

    The gate is applied to just what it was learned on. It knows whether the concept is there and never where: what a
    gate that sees places must beat. Ours.

    Args:
        components: Principal components.
        dead_zone: h₀ in [0, 1): below it nothing is touched at all.

    Raises:
        InputError: If `dead_zone` is out of range.
    """

    name: ClassVar[str] = "image_mean"
    unit: ClassVar[str] = "sample"
    cost: ClassVar[str] = "d"
    suits: ClassVar[str] = "Where the whole picture may change once the concept is in it."

    def __init__(self, components: int = PICTURE_COMPONENTS, dead_zone: float = 0.1) -> None:
        if not 0 <= dead_zone < 1:
            raise InputError(f"dead_zone must be in [0, 1), but is {dead_zone}. The default is 0.1.")
        self.dead_zone = dead_zone
        super().__init__(components)

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give the picture's score at each of its positions."""
        score = self.logits(activation.float().mean(dim=1)).sigmoid()
        return torch.nn.functional.threshold(score, self.dead_zone, 0.0)[:, None].expand(activation.shape[:2])
