"""One call of a denoiser: where the image stands among a site's positions, beside text and reference images."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..core.features import grid_of, pool
from .calls import Call


@dataclass(kw_only=True)
class DenoiserCall(Call):
    """One call of a denoiser. Both calls of a denoising step, where guidance takes two, have the same number.

    Args:
        grid: Height and width of the image's positions as they enter the denoiser; frames of a video stand one below
            another.
        tokens: How many positions the image stream has, reference images included; `None` where that differs from
            level to level, as in a U-Net.
        image_first: In a sequence that holds text and image, whether the image stands first.
        text: (rows,) where the image begins in such a sequence, if that differs from row to row; else `None`.
    """

    made = "pictures"

    grid: tuple[int, int]
    tokens: int | None
    image_first: bool
    text: Tensor | None

    def reduced_to(self, rows: slice) -> Self:
        """See :meth:`Call.reduced_to`."""
        return replace(super().reduced_to(rows), text=None if self.text is None else self.text[rows])

    def positions_of(
        self, whole: Float[Tensor, "rows all_positions channels"]
    ) -> Float[Tensor, "rows positions channels"]:
        """Give the image's positions: text and reference images may stand beside the image.

        Args:
            whole: All that a site holds.
        """
        where = self.image_at(whole.shape[1])
        if isinstance(where, slice):
            return whole[:, where]
        return whole.gather(1, where[:, :, None].expand(-1, -1, whole.shape[2]))

    def with_positions(
        self,
        whole: Float[Tensor, "rows all_positions channels"],
        changed: Float[Tensor, "rows positions channels"],
    ) -> Float[Tensor, "rows all_positions channels"]:
        """Put the image's positions back among the others.

        Args:
            whole: As given to `positions_of`; it stays as it is.
            changed: The image's positions.
        """
        where = self.image_at(whole.shape[1])
        if where == slice(None):
            return changed
        if isinstance(where, slice):
            return torch.cat([whole[:, : where.start], changed, whole[:, where.stop :]], dim=1)
        return whole.scatter(1, where[:, :, None].expand(-1, -1, whole.shape[2]), changed)

    def grid_at(self, positions: int) -> tuple[int, int]:
        """Give height and width of the image at a site.

        Args:
            positions: How many of the image's positions it has.
        """
        return grid_of(positions, self.grid)

    def pooled(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "rows channels"]:
        """Average over the picture, in float32.

        Args:
            positions: What `positions_of` gave.
        """
        return pool(positions)

    def places(self, positions: int, count: int, generator: torch.Generator) -> Tensor:
        """Choose positions at random: the same in every row, so that twins have theirs at the same places.

        Args:
            positions: How many the site has.
            count: How many to choose.
            generator: The source of chance, on the processor.

        Returns:
            (count,) on the processor.
        """
        return torch.randint(positions, (count,), generator=generator)

    def image_at(self, total: int) -> slice | Int[Tensor, "rows image_positions"]:
        """Tell where the image is among the positions that a site holds.

        Args:
            total: How many these are.

        Returns:
            A slice, or the numbers of the image's positions where rows differ.
        """
        count = self.grid[0] * self.grid[1]
        if self.tokens is None or total <= count:
            return slice(None)
        if self.image_first or total <= self.tokens:
            return slice(0, count)
        if self.text is not None:
            return self.text[:, None] + torch.arange(count, device=self.text.device)
        start = total - self.tokens
        return slice(start, start + count)
