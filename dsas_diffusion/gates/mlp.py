"""The MLP gate: one hidden layer instead of a line, on principal components of pooled activations."""

import warnings
from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from ..core.probe import checked_components
from ..errors import InputError
from .base import Gate, Samples


class MLPGate(Gate):
    """h(t) = σ(v · relu(W t + b) + c),  the PCA folded into W and b.

    Learned on pooled activations and applied at every position, as the paper's gate is. A position costs
    `hidden` · channels multiplications where a line costs channels. The paper leaves non-linear gates open; this one is
    ours.

    Args:
        components: Principal components, from 1 on.
        hidden: Units of the hidden layer, from 1 on.
        penalty: L2 penalty on the weights, 0 or more.

    Raises:
        InputError: If a setting is out of range.
    """

    name: ClassVar[str] = "mlp"
    cost: ClassVar[str] = "16 d"
    suits: ClassVar[str] = (
        "Where no line tells source from control; it costs as many times more as it has hidden units."
    )
    hidden_weight: Tensor
    hidden_bias: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, components: int = 5, hidden: int = 16, penalty: float = 1e-2) -> None:
        super().__init__()
        if not isinstance(hidden, int) or hidden < 1 or not 0 <= penalty < float("inf"):
            raise InputError(
                f"hidden is {hidden!r} and penalty {penalty!r}; accepted are a whole number from 1 on, and a finite "
                "number from 0 on. The defaults are 16 and 0.01."
            )
        self.components, self.hidden, self.penalty = checked_components(components), hidden, penalty
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the score becomes 0."""
        self.register_buffer("hidden_weight", torch.zeros(self.hidden, channels))
        self.register_buffer("hidden_bias", torch.zeros(self.hidden))
        self.register_buffer("weight", torch.zeros(self.hidden))
        self.register_buffer("bias", torch.tensor(-torch.inf))
        return self

    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn from pooled activations; the same every time.

        Args:
            source: Samples that show the concept.
            control: Samples that don't.
        """
        X = torch.cat([source.pooled, control.pooled]).double().numpy()
        y = np.repeat([1, 0], [len(source.pooled), len(control.pooled)])
        pca = PCA(min(self.components, X.shape[1], len(X) - 1), svd_solver="full").fit(X)
        scores = pca.transform(X)
        scale = scores.std() or 1.0
        network = MLPClassifier((self.hidden,), solver="lbfgs", alpha=self.penalty, max_iter=500, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 500 steps are enough to tell two clouds apart
            network.fit(scores / scale, y)
        (first, second), (inner, outer) = network.coefs_, network.intercepts_
        folded = first.T @ pca.components_ / scale
        learned = {
            "hidden_weight": folded,
            "hidden_bias": inner - folded @ pca.mean_,
            "weight": second[:, 0],
            "bias": outer[0],
        }
        for name, value in learned.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))
        return self

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give the network's score."""
        hidden = (activation.float() @ self.hidden_weight.T + self.hidden_bias).relu()
        return (hidden @ self.weight + self.bias).sigmoid()
