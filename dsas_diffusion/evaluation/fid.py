"""Fréchet Inception Distance of a set of pictures to a set of references, on any features."""

from dataclasses import dataclass

import torch

from ..errors import InputError
from .feature_sets import SetDistance, check_sets


def fid(features: torch.Tensor, references: torch.Tensor) -> float:
    """FID = |μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½), with means μ and covariances C (over n − 1) of the two sets.

    Only figures on the same features and of sets of the same size compare: with few pictures FID comes out too large,
    most so with fewer pictures than features, where `kid` is the better measure. It is FID proper on Inception's
    2,048 features alone.

    Args:
        features: (m, d), of m pictures.
        references: (n, d), of n other pictures; m and n may differ.

    Returns:
        The distance, 0 or more, computed in float64.

    Raises:
        InputError: If a set has fewer than 2 rows, lengths differ, or a value is not finite.

    Source: GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500, equation 6.
    """
    check_sets("FID", features, references)
    sides = features.double().cpu(), references.double().cpu()
    return frechet_distance(*(part for rows in sides for part in (rows.mean(dim=0), rows.T.cov())))


def frechet_distance(
    mean: torch.Tensor, covariance: torch.Tensor, other_mean: torch.Tensor, other_covariance: torch.Tensor
) -> float:
    """Give |μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½): the squared 2-Wasserstein distance of two Gaussians.

    The trace of the root is the sum of the roots of the eigenvalues of C₁^½ C₂ C₁^½, a symmetric matrix.

    Args:
        mean: (d,) float64.
        covariance: (d, d) float64, symmetric and positive semidefinite; it may be singular.
        other_mean: (d,) float64.
        other_covariance: (d, d) float64.

    Returns:
        The distance, 0 or more.

    Source: Dowson and Landau, The Fréchet distance between multivariate normal distributions, Journal of Multivariate
    Analysis 12(3), 1982.
    """
    values, vectors = torch.linalg.eigh(covariance.reshape(len(mean), len(mean)))
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ other_covariance.reshape_as(root) @ root
    trace_of_root = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    traces = values.sum() + other_covariance.reshape_as(root).trace()
    return max(0.0, float((mean - other_mean).square().sum() + traces - 2 * trace_of_root))


@dataclass(eq=False)
class FrechetInceptionDistance(SetDistance):
    """`fid` between pictures and references.

    It keeps the number of pictures and the sums of features and of their products, (d, d), for either set, so its size
    doesn't grow with the pictures.
    """

    pictures: int = 0
    total: torch.Tensor | float = 0.0
    products: torch.Tensor | float = 0.0
    reference_pictures: int = 0
    reference_total: torch.Tensor | float = 0.0
    reference_products: torch.Tensor | float = 0.0

    def _take(self, features: torch.Tensor, are_references: bool) -> None:
        if features.ndim != 2 or not bool(torch.isfinite(features).all()):
            raise InputError(
                f"A batch's features are a tensor of shape {tuple(features.shape)}; FID needs finite rows (n, d). "
                "Flatten the features of each picture to a row."
            )
        rows, prefix = features.double(), "reference_" if are_references else ""
        for name, value in (("pictures", len(rows)), ("total", rows.sum(dim=0)), ("products", rows.T @ rows)):
            setattr(self, prefix + name, getattr(self, prefix + name) + value)

    def compute(self) -> float:
        sides = (
            (self.pictures, self.total, self.products),
            (self.reference_pictures, self.reference_total, self.reference_products),
        )
        moments = []
        for count, total, products in sides:
            if count < 2 or not isinstance(total, torch.Tensor):
                return float("nan")
            mean = total / count
            moments += [mean, (products - count * torch.outer(mean, mean)) / (count - 1)]
        return frechet_distance(*moments)
