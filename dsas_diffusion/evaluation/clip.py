"""CLIP score and zero-shot choice, on features of any CLIP."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from .base import Measure, share


def clip_score(image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
    """Score = 100 · max(cos(image, text), 0), pair by pair.

    The 2.5 that the paper multiplies with, to stretch the range, is left out, as in torchmetrics.

    Args:
        image_features: (n, d), of any length.
        text_features: (n, d), or (1, d) for one text against all images.

    Returns:
        (n,) float32 in [0, 100].

    Source: CLIPScore, arXiv 2104.08718, section 3.
    """
    cosine = F.cosine_similarity(image_features.float(), text_features.float(), dim=-1)
    return 100 * cosine.clamp(0, 1)


def zero_shot(image_features: torch.Tensor, text_features: torch.Tensor, logit_scale: float) -> torch.Tensor:
    """p(j | image) = softmax over j of logit_scale · cos(image, text j).

    Args:
        image_features: (n, d), of any length.
        text_features: (k, d), one row a choice.
        logit_scale: The model's own sharpness, `model.logit_scale.exp()`.

    Returns:
        (n, k) float32; each row sums to 1.

    Source: Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020, section 3.1.2.
    """
    images = F.normalize(image_features.float(), dim=-1)
    texts = F.normalize(text_features.float(), dim=-1)
    return (logit_scale * images @ texts.T).softmax(dim=-1)


@dataclass
class ClipScore(Measure):
    """Mean over pictures of `clip_score`, in 0 to 100."""

    higher_is_better: ClassVar[bool | None] = True

    total: float = 0.0
    pictures: int = 0

    def update(self, image_features: torch.Tensor, text_features: torch.Tensor) -> None:
        """Take one batch; see `clip_score` for shapes."""
        scores = clip_score(image_features, text_features)
        self.total += float(scores.double().sum())
        self.pictures += len(scores)

    def compute(self) -> float:
        return share(self.total, self.pictures)


@dataclass
class ZeroShotRate(Measure):
    """Share of pictures for which the first text is the likeliest of all."""

    higher_is_better: ClassVar[bool | None] = None

    chosen: int = 0
    pictures: int = 0

    def update(self, probabilities: torch.Tensor) -> None:
        """Take one batch.

        Args:
            probabilities: (n, k) as `zero_shot` gives them, the concept's text first.
        """
        self.chosen += int((probabilities.argmax(dim=-1) == 0).sum())
        self.pictures += len(probabilities)

    def compute(self) -> float:
        return share(self.chosen, self.pictures)
