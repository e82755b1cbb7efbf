"""The ReLU gate: a straight line through the scores, cut off at 0 and 1."""

from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from torch import Tensor

from .base import Samples
from .logistic import LogisticGate


class ReLUGate(LogisticGate):
    """h(t) = min(1, max(0, w · t + c)),  w and c by least squares on principal components (source = 1, control = 0).

    Unlike a sigmoid it is exactly 0 on what looks like control. The paper trains it end to end and does not state its
    form; cut off at 1, and learned by least squares where nothing is trained, is ours.

    Args:
        components: Principal components.

    References:
        Dynamically Scaled Activation Steering, arXiv 2512.03661 (the ReLU variant of E2E-DSAS).
    """

    name: ClassVar[str] = "relu"
    cost: ClassVar[str] = "d"
    suits: ClassVar[str] = "Where control must get exactly 0 without a dead zone."
    by_regression: ClassVar[bool] = False

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the score becomes 0."""
        super().reset(channels)
        self.register_buffer("bias", torch.tensor(0.0))
        return self

    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn from pooled activations.

        Args:
            source: Samples that show the concept.
            control: Samples that don't.
        """
        X = torch.cat([source.pooled, control.pooled]).double().numpy()
        y = np.repeat([1.0, 0.0], [len(source.pooled), len(control.pooled)])
        pca = PCA(min(self.components, X.shape[1], len(X) - 1), svd_solver="full").fit(X)
        line = LinearRegression().fit(pca.transform(X), y)
        weight = pca.components_.T @ line.coef_
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(float(line.intercept_ - weight @ pca.mean_), dtype=torch.float32))
        return self

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give the line's value, cut off at 0 and 1."""
        return self.logits(activation).clamp(0, 1)
