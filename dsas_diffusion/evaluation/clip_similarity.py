"""CLIP similarity of a picture to its unsteered twin (CLIP-I)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from .base import Measure, share


def clip_similarity(image_features: torch.Tensor, twin_features: torch.Tensor) -> torch.Tensor:
    """CLIP-I = cos(image, twin), pair by pair.

    Args:
        image_features: (n, d), of any length.
        twin_features: (n, d), of their unsteered twins.

    Returns:
        (n,) float32 in [-1, 1]; 1 where CLIP sees no difference.

    Source: DreamBooth, arXiv 2208.12242, section 4.1, where the other picture is a real one.
    """
    return F.cosine_similarity(image_features.float(), twin_features.float(), dim=-1).clamp(-1, 1)


@dataclass
class ClipSimilarity(Measure):
    """Mean over pairs of `clip_similarity`."""

    higher_is_better: ClassVar[bool | None] = True

    total: float = 0.0
    pictures: int = 0

    def update(self, image_features: torch.Tensor, twin_features: torch.Tensor) -> None:
        """Take one batch of twins; see `clip_similarity` for shapes."""
        self.add(clip_similarity(image_features, twin_features))

    def add(self, values: torch.Tensor) -> None:
        """Take one batch's `clip_similarity`, (n,)."""
        self.total += float(values.double().sum())
        self.pictures += len(values)

    def compute(self) -> float:
        return share(self.total, self.pictures)
