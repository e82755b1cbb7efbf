"""What one call of a denoiser is: which rows follow the prompt, which step it is, where the image's positions are."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .guidance import Half


@dataclass(frozen=True)
class DenoiserCall:
    """One call of a denoiser.

    Args:
        step: The denoising step, from 0 in each run; both calls of a step, where guidance takes two, have the same.
        rows: Batch size.
        pictures: How many pictures are drawn at once. The rows are these, as many times as there are predictions for
            each in one call.
        conditional: The rows that follow the prompt.
        unconditional: Those that don't, where there is guidance.
        grid: Height and width of the image's positions as they enter the denoiser; frames of a video stand one below
            another.
        tokens: How many positions the image stream has, reference images included; `None` where that differs from
            level to level, as in a U-Net.
        image_first: In a sequence that holds text and image, whether the image stands first.
        text: (rows,) where the image begins in such a sequence, if that differs from row to row; else `None`.
        device: Where it runs.
    """

    step: int
    rows: int
    pictures: int
    conditional: slice
    unconditional: slice
    grid: tuple[int, int]
    tokens: int | None
    image_first: bool
    text: Tensor | None
    device: torch.device

    def rows_of(self, half: Half) -> slice:
        """Give the rows of a half; none where the call has none.

        Args:
            half: `"conditional"`, `"unconditional"` or `"both"`.
        """
        return slice(0, self.rows) if half == "both" else getattr(self, half)

    def reduced_to(self, rows: slice) -> Self:
        """Give the same call with some of its rows.

        Args:
            rows: Which.
        """
        count = len(range(*rows.indices(self.rows)))
        kept = slice(0, count)
        text = None if self.text is None else self.text[rows]
        return replace(self, rows=count, pictures=count, conditional=kept, unconditional=slice(0, 0), text=text)

    def image_of(
        self, positions: Float[Tensor, "rows positions channels"]
    ) -> Float[Tensor, "rows image_positions channels"]:
        """Give the image's positions out of what a site holds.

        Args:
            positions: All of it; text and reference images may stand beside the image.
        """
        where = self.image_at(positions.shape[1])
        if isinstance(where, slice):
            return positions[:, where]
        return positions.gather(1, where[:, :, None].expand(-1, -1, positions.shape[2]))

    def with_image(
        self,
        positions: Float[Tensor, "rows positions channels"],
        image: Float[Tensor, "rows image_positions channels"],
    ) -> Float[Tensor, "rows positions channels"]:
        """Put the image's positions back among the others.

        Args:
            positions: As given to `image_of`; it stays as it is.
            image: The image's positions.
        """
        where = self.image_at(positions.shape[1])
        if where == slice(None):
            return image
        if isinstance(where, slice):
            return torch.cat([positions[:, : where.start], image, positions[:, where.stop :]], dim=1)
        return positions.scatter(1, where[:, :, None].expand(-1, -1, positions.shape[2]), image)

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
