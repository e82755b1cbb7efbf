"""Kernel Inception Distance of a set of pictures to a set of references, on any features."""

from dataclasses import dataclass, field

import torch

from .feature_sets import SetDistance, check_sets

ROWS = 1024  # of the kernel matrix held at a time


def kid(features: torch.Tensor, references: torch.Tensor) -> float:
    """KID = mean of k(x, x') over x ≠ x' + mean of k(y, y') over y ≠ y' − 2 · mean of k(x, y), k(x, y) = (x·y/d + 1)³.

    This is the unbiased squared maximum mean discrepancy, so it may come out a little below 0. Only figures on the same
    features compare. Features of length 1, such as `ClipJudge.image_features`, give small ones: with x·y/d at most 1/d
    the kernel is all but linear, and KID is about 3/d · |mean x − mean y|².

    Args:
        features: (m, d), of m pictures.
        references: (n, d), of n other pictures; m and n may differ.

    Returns:
        The distance, computed in float64.

    Raises:
        InputError: If a set has fewer than 2 rows, lengths differ, or a value is not finite.

    Source: Demystifying MMD GANs, arXiv 1801.01401, section 4.
    """
    check_sets("KID", features, references)
    x, y = features.double(), references.double().to(features.device)
    within_x, within_y = _off_diagonal_mean(x), _off_diagonal_mean(y)
    return within_x + within_y - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def for_sets(features: torch.Tensor) -> torch.Tensor:
    """Give x √d for features x of length 1: a mean square of 1, so that `kid`'s kernel is as curved as on Inception's.

    Args:
        features: (n, d) of length 1.
    """
    return features * features.shape[1] ** 0.5


@dataclass(eq=False)
class KernelInceptionDistance(SetDistance):
    """`kid` between pictures and references. It keeps every picture's features, since the distance is one of sets."""

    images: list[torch.Tensor] = field(default_factory=list)
    references: list[torch.Tensor] = field(default_factory=list)

    def _take(self, features: torch.Tensor, are_references: bool) -> None:
        (self.references if are_references else self.images).append(features)

    def compute(self) -> float:
        if min(sum(len(rows) for rows in kept) for kept in (self.images, self.references)) < 2:
            return float("nan")
        return kid(torch.cat(self.images), torch.cat(self.references))


def _kernel(products: torch.Tensor, dimension: int) -> torch.Tensor:
    return (products / dimension + 1) ** 3


def _kernel_sum(x: torch.Tensor, y: torch.Tensor) -> float:
    return sum(float(_kernel(rows @ y.T, x.shape[1]).sum()) for rows in x.split(ROWS))


def _off_diagonal_mean(x: torch.Tensor) -> float:
    diagonal = float(_kernel(x.square().sum(dim=1), x.shape[1]).sum())
    return (_kernel_sum(x, x) - diagonal) / (len(x) * (len(x) - 1))
