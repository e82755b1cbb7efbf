"""Activations as positions: a channels-last view of tokens and feature maps, and pooling over positions."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

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


def pool(positions: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch channels"]:
    """Average over positions, in float32."""
    return positions.float().mean(dim=1)
