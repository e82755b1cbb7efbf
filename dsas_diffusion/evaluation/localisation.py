"""Localisation: a gate's map against where the concept is."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ..errors import InputError
from .base import Measure, share
from .pixels import check_pixels
from .presence import THRESHOLD
from .regions import check_masks


def localisation_auroc(maps: torch.Tensor, masks: torch.Tensor) -> float:
    """AUROC = P(map at a pixel of the concept > map at another pixel), ties counting a half.

    The pixels of all pictures that show the concept are pooled, so a map must tell places apart and not just pictures.

    Args:
        maps: (n, height, width) floats in [0, 1], such as a gate brought to image size.
        masks: (n, height, width) bool, where each picture shows the concept; a picture without it is left out.

    Returns:
        A number in [0, 1], 0.5 for a map that says nothing; NaN without a pixel of either kind.

    Raises:
        InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
    """
    _check(maps, masks)
    return _pooled_auroc(*_pixels_of_shown(maps, masks))


def iou(maps: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """IoU = |P ∩ M| / |P ∪ M| with P = {map > 0.5}.

    Args:
        maps: (n, height, width) floats in [0, 1].
        masks: (n, height, width) bool M, where each picture shows the concept.

    Returns:
        (n,) float64 in [0, 1]; NaN for a picture that doesn't show the concept.

    Raises:
        InputError: If shapes don't fit, values are not finite, or lie outside [0, 1].
    """
    _check(maps, masks)
    found = maps > THRESHOLD
    both, either = (part.flatten(1).sum(dim=1).double() for part in (found & masks, found | masks))
    return torch.where(masks.flatten(1).any(dim=1), both / either, torch.nan)


@dataclass(eq=False)
class LocalisationAuroc(Measure):
    """`localisation_auroc` over all pictures that show the concept.

    It keeps their pixels, 5 bytes each, since ranks don't add up: make large maps and masks smaller first.
    """

    higher_is_better: ClassVar[bool | None] = True

    maps: list[np.ndarray] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)

    def update(self, maps: torch.Tensor, masks: torch.Tensor) -> None:
        """Take one batch; see `localisation_auroc` for shapes and errors."""
        _check(maps, masks)
        values, truth = _pixels_of_shown(maps, masks)
        self.maps.append(values)
        self.masks.append(truth)

    def compute(self) -> float:
        return _pooled_auroc(np.concatenate(self.maps), np.concatenate(self.masks)) if self.maps else float("nan")


@dataclass
class MeanIou(Measure):
    """Mean over pictures that show the concept of `iou`."""

    higher_is_better: ClassVar[bool | None] = True

    total: float = 0.0
    pictures: int = 0

    def update(self, maps: torch.Tensor, masks: torch.Tensor) -> None:
        """Take one batch; see `iou` for shapes and errors."""
        found = iou(maps, masks)
        self.total += float(found.nansum())
        self.pictures += int((~found.isnan()).sum())

    def compute(self) -> float:
        return share(self.total, self.pictures)


def _check(maps: torch.Tensor, masks: torch.Tensor) -> None:
    if maps.ndim != 3:
        raise InputError(
            f"maps is a tensor of shape {tuple(maps.shape)}; accepted is (n, height, width), one map a picture. "
            "Average over sites and steps first."
        )
    check_pixels("maps", maps)
    check_masks("masks", masks, maps)


def _pixels_of_shown(maps: torch.Tensor, masks: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    shown = masks.flatten(1).any(dim=1)
    return maps[shown].detach().float().cpu().numpy().ravel(), masks[shown].cpu().numpy().ravel()


def _pooled_auroc(values: np.ndarray, truth: np.ndarray) -> float:
    return float(roc_auc_score(truth, values)) if truth.any() and not truth.all() else float("nan")
