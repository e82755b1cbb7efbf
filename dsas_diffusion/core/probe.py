"""Linear probes: PCA and logistic regression folded into one vector and one bias."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from torch import Tensor


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


def core_of(
    shown: Float[Tensor, "n channels"],
    other: Float[Tensor, "m channels"],
    share: float,
    components: int = 16,
) -> tuple[Float[Tensor, "channels"], Float[Tensor, ""]]:
    """Learn a line that keeps, of activations from a rough region, those that a classifier of places is surest of.

    A region read off twins holds much that is not the concept. A classifier that learned from all of it still ranks the
    concept's own places first. Ours.

    Args:
        shown: Activations from the region.
        other: Activations off the concept.
        share: Share of the region's positions to keep, in (0, 1).
        components: Principal components of the classifier.

    Returns:
        w and θ: kept is what has w · t ≥ θ; everything where either side has fewer than 2 activations.
    """
    if min(len(shown), len(other)) < 2:
        return torch.zeros(shown.shape[1]), torch.tensor(-torch.inf)
    weight, _ = folded_classifier(shown, other, components, balanced=True)
    return weight, (shown.float() @ weight).quantile(1 - share)


def surest(
    positions: Float[Tensor, "n channels"],
    inside: Bool[Tensor, "n"],
    other: Float[Tensor, "m channels"],
    share: float,
    components: int = 16,
) -> Bool[Tensor, "n"]:
    """Keep the core of a region's positions, see :func:`core_of`.

    Args:
        positions: Activations of pictures that show the concept.
        inside: Which of them lie in the region.
        other: Activations off the concept.
        share: Share of the region's positions to keep, in (0, 1]; 1 keeps all.
        components: Principal components of the classifier.

    Returns:
        Which positions are kept.
    """
    if share >= 1:
        return inside
    weight, threshold = core_of(positions[inside], other, share, components)
    return inside & (positions.float() @ weight >= threshold)
