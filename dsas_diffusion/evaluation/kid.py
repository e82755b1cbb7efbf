"""Kernel Inception Distance of a set of pictures to a set of references, on any features."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from .base import Measure
from .feature_sets import check_sets
from .images import Images

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
class KernelInceptionDistance(Measure):
    """`kid` between pictures and references. It keeps every picture's features, since the distance is one of sets."""

    higher_is_better: ClassVar[bool | None] = False

    images: list[torch.Tensor] = field(default_factory=list)
    references: list[torch.Tensor] = field(default_factory=list)

    def update(self, images: Images, references: Images, features: Callable[[Images], torch.Tensor]) -> None:
        """Take one batch of either or both; the numbers may differ.

        Args:
            images: PIL images, or (m, 3, height, width) floats in [0, 1]; may be empty.
            references: The same for the other set; may be empty.
            features: Gives (k, d) for k pictures, for example `ClipJudge.image_features`. It is not kept, so the
                measure stays small. Use the same for every batch.
        """
        for pictures, kept in ((images, self.images), (references, self.references)):
            if len(pictures):
                kept.append(features(pictures).detach().cpu())

    def add(self, features: torch.Tensor, references: torch.Tensor) -> None:
        """Take one batch's features, (m, d) and (n, d), of either set."""
        self.images.append(features.detach().cpu())
        self.references.append(references.detach().cpu())

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
