"""Regions of pictures as masks: grown, shrunk, and split into inside and outside with a rim left out."""

from typing import Literal, TypeAlias

import torch
from torch.nn import functional as F

from ..errors import InputError

RIM = 2  # pixels on either side of a region's border that belong to neither part

Part: TypeAlias = Literal["inside", "outside"]


def dilate(masks: torch.Tensor, pixels: int) -> torch.Tensor:
    """Grow regions by so many pixels, diagonals included: a square of side 2 · pixels + 1 around each pixel.

    Args:
        masks: (n, height, width) bool.
        pixels: 0 or more.

    Returns:
        (n, height, width) bool.
    """
    grown = F.max_pool2d(masks.float().unsqueeze(1), 2 * pixels + 1, stride=1, padding=pixels)
    return grown.squeeze(1).bool()


def erode(masks: torch.Tensor, pixels: int) -> torch.Tensor:
    """Shrink regions by so many pixels, diagonals included; the picture's edge is no border of a region.

    Args:
        masks: (n, height, width) bool.
        pixels: 0 or more.

    Returns:
        (n, height, width) bool.
    """
    return ~dilate(~masks, pixels)


def masked_mean(values: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean of each picture's values inside its mask.

    Args:
        values: (n, height, width) float64.
        masks: (n, height, width) bool.

    Returns:
        (n,) float64; NaN where the mask is empty.
    """
    return torch.where(masks, values, 0).flatten(1).sum(dim=1) / masks.flatten(1).sum(dim=1)


def check_masks(name: str, masks: torch.Tensor, pictures: torch.Tensor) -> None:
    """Refuse masks that don't belong to the pictures.

    Args:
        name: What the message calls them.
        masks: (n, height, width) bool.
        pictures: (n, channels, height, width) or (n, height, width).

    Raises:
        InputError: If they are not bool, or of another number or size.
    """
    wanted = (len(pictures), *pictures.shape[-2:])
    if masks.dtype != torch.bool or tuple(masks.shape) != wanted:
        raise InputError(
            f"{name} is a tensor of shape {tuple(masks.shape)} and type {masks.dtype}; accepted is bool of shape "
            f"{wanted}, one mask a picture. Compare a detector's heat map with 0.5, after bringing it to image size."
        )
