"""Linear probes: PCA and logistic regression folded into one vector and one bias, many at once."""

from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError

#: Newton's method ends with a step that is no longer than this, relative to the coefficients: the error that it leaves
#: is of the order of the square.
_TOLERANCE: Final = 1e-5
_ITERATIONS: Final = 100


def checked_components(components: int) -> int:
    """Give a number of principal components back, if it is one.

    Raises:
        InputError: If it is no whole number from 1 on.
    """
    if not isinstance(components, int) or isinstance(components, bool) or components < 1:
        raise InputError(
            f"The number of principal components must be a whole number from 1 on, but is {components!r}. The paper "
            "takes 5."
        )
    return components


def folded_classifiers(
    activations: Float[Tensor, "n channels"],
    shown: Bool[Tensor, "n"],
    counted: Bool[Tensor, "probes n"],
    components: int,
    balanced: bool = False,
) -> tuple[Float[Tensor, "probes channels"], Float[Tensor, "probes"]]:
    """Learn to tell two sets of activations apart, once for each choice of samples; fold PCA and all into a line.

    P, μ: principal components and mean;  θ, b = argmin ½ ‖θ‖² + Σ sᵢ log(1 + exp(−yᵢ (θ · P (xᵢ − μ) + b)))
    w = Pᵀθ,  c = b − w · μ

    The same minimum as scikit-learn's `PCA` with its `LogisticRegression` at C = 1, found by Newton's method for all
    choices together, since a fit asks for it hundreds of times.

    Args:
        activations: All samples.
        shown: Which of them show the concept (y = 1, the others −1).
        counted: For each probe, the samples that it learns from: both kinds.
        components: Principal components, at most the number of channels and of samples less one.
        balanced: Whether both kinds weigh the same, however many samples they have: s = n / (2 nᵧ), else 1.

    Returns:
        w and c, float64.
    """
    middle = activations.float().mean(dim=0)
    X, weight = activations.float() - middle, counted.double()  # once centred, single precision is enough for the PCA
    basis = None
    if X.shape[0] < X.shape[1]:  # all that varies lies in the span of the samples, which is quicker to look through
        basis = torch.linalg.qr(X.double().T).Q
        X = (X.double() @ basis).float()
    total = weight.sum(dim=1)
    mean = (counted.float() @ X).double() / total[:, None]
    whole = X.T @ X
    moments = torch.stack([whole - X[~row].T @ X[~row] for row in counted]).double()  # few are left out of each
    covariance = moments - total[:, None, None] * mean[:, :, None] * mean[:, None, :]
    count = min(components, X.shape[1], int(total.min()) - 1)
    directions = torch.linalg.eigh(covariance).eigenvectors[..., -count:]
    scores = (directions.mT.float() @ X.T).double() - directions.mT @ mean[:, :, None]
    if balanced:
        sizes = torch.where(shown, (weight * shown).sum(1, keepdim=True), (weight * ~shown).sum(1, keepdim=True))
        weight = weight * total[:, None] / (2 * sizes)
    theta, bias = _regressions(scores, shown.double(), weight)
    folded = (directions @ theta[..., None])[..., 0]
    bias = bias - (folded * mean).sum(dim=1)
    if basis is not None:
        folded = folded @ basis.T
    return folded, bias - folded @ middle.double()


def _regressions(
    scores: Float[Tensor, "probes components n"], y: Float[Tensor, "n"], weight: Float[Tensor, "probes n"]
) -> tuple[Float[Tensor, "probes components"], Float[Tensor, "probes"]]:
    """Minimise every regression's loss by damped Newton steps."""
    rows = torch.cat([scores, torch.ones_like(scores[:, :1])], dim=1)
    penalty = torch.ones_like(rows[0, :, 0])
    penalty[-1] = 0.0  # not on the intercept
    found = torch.zeros_like(rows[..., 0])

    def loss(at: Tensor) -> Tensor:
        z = (at[:, None] @ rows)[:, 0]
        return (weight * (torch.nn.functional.softplus(z) - y * z)).sum(1) + 0.5 * (penalty * at.square()).sum(1)

    now = loss(found)
    for _ in range(_ITERATIONS):
        probability = (found[:, None] @ rows)[:, 0].sigmoid()
        gradient = (rows @ (weight * (probability - y))[..., None])[..., 0] + penalty * found
        curvature = (rows * (weight * probability * (1 - probability))[:, None]) @ rows.mT
        step = torch.linalg.solve(curvature + torch.diag(penalty + 1e-12), gradient)
        size = torch.ones_like(now)
        after = loss(found - step)
        while (worse := after > now + 1e-9 * now.abs()).any() and size.min() > _TOLERANCE:  # halve what leads upwards
            size = torch.where(worse, size / 2, size)
            after = loss(found - size[:, None] * step)
        found, now = found - size[:, None] * step, after
        if (step.abs().amax(1) <= _TOLERANCE * (1 + found.abs().amax(1))).all():
            break
    return found[:, :-1], found[:, -1]


def folded_classifier(
    shown: Float[Tensor, "n channels"], other: Float[Tensor, "m channels"], components: int, balanced: bool = False
) -> tuple[Float[Tensor, "channels"], Float[Tensor, ""]]:
    """Learn one line, from all samples, see :func:`folded_classifiers`.

    Args:
        shown: Activations with the concept.
        other: Activations without it.
        components: Principal components.
        balanced: Whether both weigh the same.

    Returns:
        w and c, float32.
    """
    X = torch.cat([shown, other])
    kind = torch.arange(len(X)) < len(shown)
    weight, bias = folded_classifiers(X, kind, torch.ones(1, len(X), dtype=torch.bool), components, balanced)
    return weight[0].float(), bias[0].float()


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
        w and θ: kept is what has w · t ≥ θ; everything where either side has fewer than 2 activations. θ lies halfway
        between what is kept and what is not, so that rounding does not decide.
    """
    if min(len(shown), len(other)) < 2:
        return torch.zeros(shown.shape[1]), torch.tensor(-torch.inf)
    weight, _ = folded_classifier(shown, other, components, balanced=True)
    scores = shown.float() @ weight
    kept = scores >= scores.quantile(1 - share)
    if kept.all():
        return weight, torch.tensor(-torch.inf)
    return weight, torch.lerp(scores[~kept].max(), scores[kept].min(), 0.5)


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
