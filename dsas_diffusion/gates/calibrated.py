"""The logistic gate, set right for single positions: a new slope and bias, and a dead zone."""

from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ..errors import InputError
from .base import Samples
from .logistic import LogisticGate


class CalibratedGate(LogisticGate):
    """h(t) = g(σ(α · (w · t + c) + β)),  g(h) = h where h ≥ h₀, else 0.

    The paper's gate is learned on averages and applied to single positions, whose scores spread wider. Here α and β
    come from a second logistic regression, on the scores of single source and control positions (Platt's scaling,
    both classes weighing the same); β is then lowered until the mean of h over control positions is at most
    `control_mean`. Below h₀ nothing is touched at all. This calibration is ours.

    Args:
        components: Principal components of the pooled gate.
        control_mean: The largest mean of h over control positions, in (0, 1).
        dead_zone: h₀ in [0, 1).

    Raises:
        InputError: If `control_mean` or `dead_zone` is out of range.
    """

    name: ClassVar[str] = "calibrated"
    cost: ClassVar[str] = "d"
    suits: ClassVar[str] = "Where the set has no twins, so that places can't be learned."

    def __init__(self, components: int = 5, control_mean: float = 0.02, dead_zone: float = 0.1) -> None:
        if not 0 < control_mean < 1 or not 0 <= dead_zone < 1:
            raise InputError(
                "The calibrated gate needs 0 < control_mean < 1 and 0 <= dead_zone < 1, but got "
                f"control_mean={control_mean} and dead_zone={dead_zone}. The defaults are 0.02 and 0.1."
            )
        self.control_mean, self.dead_zone = control_mean, dead_zone
        super().__init__(components)

    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn from pooled activations, then set slope and bias on single positions.

        Args:
            source: Samples that show the concept, with some of their positions.
            control: Samples that don't, with some of theirs.
        """
        super().fit(source, control)
        shown, other = self.logits(source.positions), self.logits(control.positions)
        scores = torch.cat([shown, other]).double().numpy()
        scale = scores.std() or 1.0
        platt = LogisticRegression(class_weight="balanced").fit(
            scores[:, None] / scale, np.repeat([1, 0], [len(shown), len(other)])
        )
        slope = max(float(platt.coef_[0, 0]) / scale, 0.0)
        bias = lowered(other.double() * slope, float(platt.intercept_[0]), self.control_mean, self.dead_zone)
        self.register_buffer("weight", self.weight * slope)
        self.register_buffer("bias", self.bias * slope + bias)
        return self

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give the calibrated score, 0 inside the dead zone."""
        return torch.nn.functional.threshold(super().forward(activation), self.dead_zone, 0.0)


def lowered(logits: Tensor, bias: float, control_mean: float, dead_zone: float, factor: Tensor | float = 1.0) -> float:
    """Find the largest bias, at most the one given, whose mean score over control positions is small enough.

    Args:
        logits: Scores of control positions before bias and sigmoid.
        bias: Where to begin.
        control_mean: The largest mean of h.
        dead_zone: h below it counts as 0.
        factor: What each score is multiplied by before the dead zone.
    """

    def mean(candidate: float) -> float:
        return torch.nn.functional.threshold(factor * (logits + candidate).sigmoid(), dead_zone, 0.0).mean().item()

    if mean(bias) <= control_mean:
        return bias
    low, high = bias - 1.0, bias
    while mean(low) > control_mean:
        low -= 2 * (high - low)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) <= control_mean else (low, middle)
    return low
