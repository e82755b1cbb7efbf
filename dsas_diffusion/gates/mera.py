"""MERA's condition: steer where a calibrated probe is sure of the concept, and nowhere if that gains nothing."""

from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from sklearn.metrics import f1_score
from torch import Tensor

from ..errors import InputError
from .base import Samples
from .logistic import PICTURE_COMPONENTS, LogisticGate

#: The thresholds that are tried, as in the paper.
ALPHAS = tuple(round(0.1 * step, 1) for step in range(1, 10))


class MeraGate(LogisticGate):
    """h(t) = 1 where σ(w · t + c) > α, else 0; per position.

    α is the one of 0.1 … 0.9 with the best F1 on the fit's samples, the largest of equals; where none is better than to
    steer always, the gate abstains: α = 1. With the method `mera`, whose shift ends on the probe's threshold, this is
    the paper's steering; with other methods it says where alone.

    Args:
        components: Principal components of the probe.

    References:
        MERA, arXiv 2510.13290. There the probe predicts errors and α is set on 250 samples held out; here it tells
        source from control, and α is set on the samples of the fit.
    """

    name: ClassVar[str] = "mera"
    cost: ClassVar[str] = "d"
    suits: ClassVar[str] = "With the method mera; where half measures are not wanted."
    trains: ClassVar[bool] = False
    alpha: Tensor

    def __init__(self, components: int = PICTURE_COMPONENTS) -> None:
        super().__init__(components)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the gate abstains."""
        self.register_buffer("alpha", torch.tensor(1.0))
        return super().reset(channels)

    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn the probe from pooled activations and calibrate its threshold.

        Args:
            source: Samples that show the concept.
            control: Samples that don't.

        Raises:
            InputError: If there is nothing to calibrate on.
        """
        super().fit(source, control)
        if not len(source.pooled) or not len(control.pooled):
            raise InputError("MERA's threshold needs source and control samples to be calibrated on.")
        scores = self.logits(torch.cat([source.pooled, control.pooled])).sigmoid().numpy()
        y = np.repeat([1, 0], [len(source.pooled), len(control.pooled)])
        best, alpha = f1_score(y, np.ones_like(y)), 1.0
        for candidate in ALPHAS:
            found = f1_score(y, scores > candidate, zero_division=0)
            if found > best or (alpha < 1 and found == best):
                best, alpha = found, candidate
        self.register_buffer("alpha", torch.tensor(alpha))
        return self

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give 1 where the probe is above its threshold."""
        return (super().forward(activation) > self.alpha).float()
