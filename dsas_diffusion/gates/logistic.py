"""The paper's gate: PCA and logistic regression on pooled activations, folded into one vector and one bias."""

from typing import ClassVar, Final, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor

from .base import Gate, Samples

#: Principal components of gates that ask the picture's mean whether the concept is there, chosen on tuning prompts: of
#: mixed pictures they recognise far more than with the 5 of the paper, whose gate scores single positions. Ours.
PICTURE_COMPONENTS: Final = 20


def classifier(samples: int, channels: int, components: int = 5, balanced: bool = False) -> Pipeline:
    """Make an unfitted PCA with a logistic regression on its scores.

    Args:
        samples: How many samples it will see at least.
        channels: Channels of the site.
        components: Principal components, at most the number of channels and of samples.
        balanced: Whether both classes weigh the same, however many samples they have.
    """
    solver = "covariance_eigh" if samples >= channels else "full"  # both exact and the same every time
    return make_pipeline(
        PCA(min(components, channels, samples - 1), svd_solver=solver),
        LogisticRegression(solver="newton-cholesky", tol=1e-8, class_weight="balanced" if balanced else None),
    )


def folded_classifier(
    shown: Float[Tensor, "n channels"], other: Float[Tensor, "m channels"], components: int, balanced: bool = False
) -> tuple[Float[Tensor, "channels"], Float[Tensor, ""]]:
    """Learn to tell two sets of activations apart, and fold PCA and regression into one vector and one bias.

    w = Pᵀθ,  c = b − w · μ

    Args:
        shown: Activations with the concept (label 1).
        other: Activations without it (label 0).
        components: Principal components.
        balanced: As for :func:`classifier`.

    Returns:
        w and c, float32.
    """
    X = torch.cat([shown, other]).double().numpy()
    y = np.repeat([1, 0], [len(shown), len(other)])
    pca, regression = classifier(*X.shape, components, balanced).fit(X, y)[:]
    weight = pca.components_.T @ regression.coef_[0]
    bias = float(regression.intercept_[0] - weight @ pca.mean_)
    return torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)


def surest(
    positions: Float[Tensor, "n channels"],
    inside: Bool[Tensor, "n"],
    other: Float[Tensor, "m channels"],
    share: float,
    components: int = 16,
) -> Bool[Tensor, "n"]:
    """Keep, of the positions in a rough region, those that a classifier of places is surest of.

    A region read off twins holds much that is not the concept. A classifier that learned from all of it still ranks the
    concept's own places first. Ours.

    Args:
        positions: Activations of pictures that show the concept.
        inside: Which of them lie in the region.
        other: Activations off the concept.
        share: Share of the region's positions to keep, in (0, 1]; 1 keeps all.
        components: Principal components of the classifier.

    Returns:
        Which positions are kept.
    """
    if share >= 1 or inside.sum() < 2 or len(other) < 2:
        return inside
    weight, _ = folded_classifier(positions[inside], other, components, balanced=True)
    scores = positions.float() @ weight
    return inside & (scores >= scores[inside].quantile(1 - share))


class LogisticGate(Gate):
    """h(t) = σ(w · t + c),  w = Pᵀθ,  c = b − θ · Pμ.

    P and μ are the components and the mean of a PCA of the pooled source and control activations, θ and b the
    coefficients and intercept of a logistic regression on its scores (source = 1, control = 0). Learned on pooled
    activations and applied at every position: it knows whether the concept is there, hardly where.

    Args:
        components: Principal components, at most the number of channels and of samples.

    References:
        Dynamically Scaled Activation Steering, arXiv 2512.03661, section 3; 5 components as there. Standardisation,
        solver and regularisation are not stated there: the PCA is plain and the regression scikit-learn's default.
    """

    name: ClassVar[str] = "logistic"
    weight: Tensor
    bias: Tensor

    def __init__(self, components: int = 5) -> None:
        super().__init__()
        self.components = components
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

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give σ(w · t + c)."""
        return self.logits(activation).sigmoid()
