"""The paper's gate: PCA and logistic regression on pooled activations, folded into one vector and one bias."""

from collections.abc import Mapping
from typing import ClassVar, Final, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.probe import checked_components, folded_classifier
from ..core.trainable import TrainableGate, Units
from .base import Gate, Samples

#: Principal components of gates that ask the picture's mean whether the concept is there, chosen on tuning prompts: of
#: mixed pictures they recognise far more than with the 5 of the paper, whose gate scores single positions. Ours.
PICTURE_COMPONENTS: Final = 20


class LogisticGate(Gate, TrainableGate):
    """h(t) = σ(w · t + c),  w = Pᵀθ,  c = b − θ · Pμ.

    P and μ are the components and the mean of a PCA of the pooled source and control activations, θ and b the
    coefficients and intercept of a logistic regression on its scores (source = 1, control = 0). Learned on pooled
    activations and applied at every position: it knows whether the concept is there, hardly where.

    Args:
        components: Principal components, from 1 on; at most the number of channels and of samples are taken.

    Raises:
        InputError: If `components` is no whole number from 1 on.

    References:
        Dynamically Scaled Activation Steering, arXiv 2512.03661, section 3; 5 components as there. Standardisation,
        solver and regularisation are not stated there: the PCA is plain and the regression scikit-learn's default.
    """

    name: ClassVar[str] = "logistic"
    cost: ClassVar[str] = "d"
    suits: ClassVar[str] = "The paper's own gate, per position; to compare with."
    #: Whether w and c are those of the logistic regression, as which a site is then measured on unseen prompts.
    by_regression: ClassVar[bool] = True
    weight: Tensor
    bias: Tensor

    def __init__(self, components: int = 5) -> None:
        super().__init__()
        self.components = checked_components(components)
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the score becomes 0."""
        self.register_buffer("weight", torch.zeros(channels))
        self.register_buffer("bias", torch.tensor(-torch.inf))
        return self

    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn from pooled activations.

        Args:
            source: Samples that show the concept.
            control: Samples that don't.
        """
        weight, bias = folded_classifier(source.pooled, control.pooled, self.components)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        return self

    def logits(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "..."]:
        """Give w · t + c in float32."""
        return activation.float() @ self.weight + self.bias

    def parameters_in(self, units: Units) -> dict[str, Tensor]:
        """Give w for activations in units of the site, and the score at its mean.

        Args:
            units: Of the site.
        """
        return {"weight": self.weight * units.spread, "bias": self.bias + self.weight @ units.mean}

    def follow(self, parameters: Mapping[str, Tensor], units: Units) -> None:
        """Set w and c from parameters.

        Args:
            parameters: As given by `parameters_in`.
            units: Of the site.
        """
        self.register_buffer("weight", parameters["weight"] / units.spread)
        self.register_buffer("bias", parameters["bias"] - self.weight @ units.mean)

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give σ(w · t + c)."""
        return self.logits(activation).sigmoid()
