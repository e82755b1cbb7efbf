"""Perceptual distance of a picture to its unsteered twin, on the feature maps of any network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch.nn import functional as F

from ..errors import InputError
from .base import Measure, share
from .images import Images

#: Gives for n pictures one (n, channels, height, width) map a layer, such as `ClipJudge.feature_maps`.
Backbone: TypeAlias = Callable[[Images], Sequence[torch.Tensor]]


def perceptual_distance(maps: Sequence[torch.Tensor], twin_maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Distance = Σ over layers of the mean over places of |y/|y| − z/|z||², the norms over channels.

    This is LPIPS's equation with all weights 1. It is 0 for identical maps and at most 4 a layer, 2 where features are
    never negative. LPIPS's published figures are on AlexNet's or VGG's layers with learned weights: only figures on the
    same layers of the same network compare.

    Args:
        maps: (n, channels, height, width) a layer, of n pictures; layers may differ in shape.
        twin_maps: The same layers of their twins.

    Returns:
        (n,) float64, 0 or more.

    Raises:
        InputError: If there is no layer, shapes differ, or a value is not finite.

    Source: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, arXiv 1801.03924, equation 1.
    """
    shapes = [[tuple(layer.shape) for layer in side] for side in (maps, twin_maps)]
    if not maps or shapes[0] != shapes[1] or any(len(shape) != 4 for shape in shapes[0]):
        raise InputError(
            f"maps and twin_maps have layers of the shapes {shapes[0]} and {shapes[1]}; compared are the same layers, "
            "one or more, each (n, channels, height, width). Take both with the same network at the same size."
        )
    total = torch.zeros(len(maps[0]), dtype=torch.float64)
    for layer, twin in zip(maps, twin_maps, strict=True):
        if not bool(torch.isfinite(layer).all() and torch.isfinite(twin).all()):
            raise InputError("A feature map holds NaN or an infinity. Run the network in float32.")
        y, z = (F.normalize(side.detach().double(), dim=1, eps=1e-10) for side in (layer, twin))
        total += (y - z).square().sum(dim=1).mean(dim=(1, 2)).cpu()
    return total


@dataclass
class PerceptualDistance(Measure):
    """Mean over pairs of `perceptual_distance`."""

    higher_is_better: ClassVar[bool | None] = False

    total: float = 0.0
    pictures: int = 0

    def update(self, maps: Sequence[torch.Tensor], twin_maps: Sequence[torch.Tensor]) -> None:
        """Take one batch of twins; see `perceptual_distance` for shapes and errors."""
        self.add(perceptual_distance(maps, twin_maps))

    def add(self, values: torch.Tensor) -> None:
        """Take one batch's `perceptual_distance`, (n,)."""
        self.total += float(values.sum())
        self.pictures += len(values)

    def compute(self) -> float:
        return share(self.total, self.pictures)
