"""Activations as positions: a channels-last view, the grid behind the tokens, pooling, and regions on other grids."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError

Layout = Literal["tokens", "map"]


def to_positions(activation: Tensor, layout: Layout) -> Float[Tensor, "batch positions channels"]:
    """View an activation as one vector per position.

    Args:
        activation: (batch, positions, channels) in the `"tokens"` layout, (batch, channels, height, width) in `"map"`.
        layout: Where the channels are. The number of dimensions does not tell: per-head norms are 4-D with channels
            last.

    Returns:
        (batch, positions, channels); positions of a map run along its rows.
    """
    return activation.flatten(2).transpose(1, 2) if layout == "map" else activation


def from_positions(positions: Float[Tensor, "batch positions channels"], like: Tensor, layout: Layout) -> Tensor:
    """Put positions back into the shape that they had.

    Args:
        positions: (batch, positions, channels).
        like: The activation that they came from.
        layout: Its layout.

    Returns:
        A tensor with the shape, dtype and memory format of `like`.
    """
    positions = positions.to(like.dtype)
    if layout == "tokens":
        return positions
    restored = positions.transpose(1, 2).reshape(like.shape)
    channels_last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return restored.contiguous(memory_format=torch.channels_last) if channels_last else restored.contiguous()


def pool(
    positions: Float[Tensor, "batch positions channels"], mask: Tensor | None = None
) -> Float[Tensor, "batch channels"]:
    """Average over positions, in float32.

    Args:
        positions: (batch, positions, channels).
        mask: (batch, positions) true where a position counts, at least one in each row; `None` for all.
    """
    if mask is None:
        return positions.float().mean(dim=1)
    counted = torch.where(mask[:, :, None], positions.float(), 0.0)
    return counted.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def grid_of(positions: int, latent: tuple[int, int]) -> tuple[int, int]:
    """Find the height and width behind a number of positions.

    A U-Net halves its grid level by level, rounding up; the level is the one with that many positions.

    Args:
        positions: How many positions a site has.
        latent: Height and width of the latents that enter the U-Net.

    Returns:
        Height and width of the site.

    Raises:
        InputError: If no level has that many positions.
    """
    height, width = latent
    while height * width > positions and (height > 1 or width > 1):
        height, width = -(-height // 2), -(-width // 2)
    if height * width != positions:
        raise InputError(
            f"A site has {positions} positions, which no halving of the {latent[0]}×{latent[1]} latents gives, so "
            "they can't be laid out as a picture. Choose other sites (`dsas inspect` lists them)."
        )
    return height, width


def on_grid(maps: Float[Tensor, "batch h w"], size: tuple[int, int]) -> Float[Tensor, "batch h2 w2"]:
    """Bring maps to another grid: averaged over areas where it is coarser, interpolated where it is finer.

    Args:
        maps: (batch, height, width).
        size: The wanted height and width.

    Returns:
        (batch, *size) in float32.
    """
    maps = maps.float().unsqueeze(1)
    if maps.shape[-2:] == size:
        return maps.squeeze(1)
    if size[0] <= maps.shape[-2] and size[1] <= maps.shape[-1]:
        return F.interpolate(maps, size, mode="area").squeeze(1)
    return F.interpolate(maps, size, mode="bilinear", align_corners=False).squeeze(1)
