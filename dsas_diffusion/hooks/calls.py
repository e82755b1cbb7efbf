"""What one call of a model is: which rows follow the prompt, which step it is, which positions may be changed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..core.features import grid_of, pool
from ..errors import InputError
from .guidance import Half

#: Which tokens of a text are learned from, or steered.
Tokens = Literal["prompt", "continuation", "both"]


def checked_tokens(tokens: Tokens) -> Tokens:
    """Give a part of texts back, if it is one.

    Raises:
        InputError: If it is not.
    """
    if tokens not in get_args(Tokens):
        raise InputError(f"tokens must be one of {', '.join(map(repr, get_args(Tokens)))}, but is {tokens!r}.")
    return tokens


@dataclass(frozen=True, kw_only=True)
class Call(ABC):
    """One call of a model that is steered.

    Args:
        step: Which of the run's steps it belongs to, from 0.
        rows: Batch size.
        samples: How many pictures or texts are made at once. The rows are these, as many times as there are predictions
            for each in one call.
        conditional: The rows that follow the prompt.
        unconditional: Those that don't, where there is guidance.
        device: Where it runs.
    """

    #: What is made from the rows, for messages.
    made: ClassVar[str]

    step: int
    rows: int
    samples: int
    conditional: slice
    unconditional: slice
    device: torch.device

    def rows_of(self, half: Half) -> slice:
        """Give the rows of a half; none where the call has none.

        Args:
            half: `"conditional"`, `"unconditional"` or `"both"`.
        """
        return slice(0, self.rows) if half == "both" else getattr(self, half)

    def reduced_to(self, rows: slice) -> Self:
        """Give the same call with some of its rows, as if all of them followed the prompt.

        Args:
            rows: Which.
        """
        count = len(range(*rows.indices(self.rows)))
        return replace(self, rows=count, samples=count, conditional=slice(0, count), unconditional=slice(0, 0))

    @abstractmethod
    def positions_of(
        self, whole: Float[Tensor, "rows all_positions channels"]
    ) -> Float[Tensor, "rows positions channels"]:
        """Give the positions that gates see, out of all that a site holds.

        Args:
            whole: All of it.
        """

    @abstractmethod
    def with_positions(
        self,
        whole: Float[Tensor, "rows all_positions channels"],
        changed: Float[Tensor, "rows positions channels"],
    ) -> Float[Tensor, "rows all_positions channels"]:
        """Put changed positions back among the others.

        Args:
            whole: As given to `positions_of`; it stays as it is.
            changed: Its positions, steered.
        """

    def filled(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "rows positions channels"]:
        """Give positions for a gate that averages over them.

        Args:
            positions: What `positions_of` gave.
        """
        return positions

    @abstractmethod
    def grid_at(self, positions: int) -> tuple[int, int]:
        """Give height and width behind a site's positions; those of a text are one row.

        Args:
            positions: How many there are.
        """

    @abstractmethod
    def pooled(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "rows channels"]:
        """Average over the positions that count, in float32.

        Args:
            positions: What `positions_of` gave.
        """

    def flat(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "n channels"]:
        """Give the positions that count, one after the other.

        Args:
            positions: What `positions_of` gave.
        """
        return positions.flatten(0, 1)

    def included(self, tokens: Tokens) -> Tensor | None:
        """Tell which positions belong to a part of a text.

        Args:
            tokens: The part.

        Returns:
            True where a position does, in a shape that broadcasts to (rows, positions); `None` where all do.
        """
        return None

    def only(self, tokens: Tokens) -> Self:
        """Give the same call with a part of the text masked in.

        Args:
            tokens: The part.
        """
        return self

    def counted(self, positions: int) -> Int[Tensor, "rows"]:
        """Tell how many positions count, by row; on the processor.

        Args:
            positions: How many there are.
        """
        return torch.full((self.rows,), positions)

    @abstractmethod
    def places(self, positions: int, count: int, generator: torch.Generator) -> Tensor:
        """Choose positions at random, with replacement, among those that count.

        Args:
            positions: How many the site has.
            count: How many to choose.
            generator: The source of chance, on the processor.

        Returns:
            (count,) the same in every row, or (rows, count); on the processor.
        """


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class TextCall(Call):
    """One call of a model whose positions are tokens.

    Args:
        tokens: How many each row has, padding included.
        mask: (rows, tokens) true where the model attends; padding is neither averaged nor steered. `None` where every
            token counts.
        prompt: How many of the tokens, from the first on, are the prompt's; `None` for all. The others continue it.
        ids: (rows, tokens) which tokens they are; `None` where embeddings were handed in.
        searched: Whether the rows are beams, which change places between calls.
    """

    made = "texts"

    tokens: int
    mask: Tensor | None
    prompt: int | None = None
    ids: Int[Tensor, "rows tokens"] | None = None
    searched: bool = False

    def reduced_to(self, rows: slice) -> Self:
        """See :meth:`Call.reduced_to`."""
        mask, ids = (None if each is None else each[rows] for each in (self.mask, self.ids))
        return replace(super().reduced_to(rows), mask=mask, ids=ids)

    def included(self, tokens: Tokens) -> Tensor | None:
        """See :meth:`Call.included`."""
        if tokens == "both" or (tokens == "prompt" and self.prompt is None):
            return None
        own = torch.zeros(1, self.tokens, dtype=torch.bool, device=self.device)
        own[:, : self.prompt] = True
        return own if tokens == "prompt" else ~own

    def only(self, tokens: Tokens) -> Self:
        """See :meth:`Call.only`."""
        own = self.included(tokens)
        if own is None:
            return self
        return replace(self, mask=own.expand(self.rows, -1) if self.mask is None else self.mask & own)

    def flat(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "n channels"]:
        """See :meth:`Call.flat`."""
        return super().flat(positions) if self.mask is None else positions[self.mask]

    def counted(self, positions: int) -> Int[Tensor, "rows"]:
        """See :meth:`Call.counted`."""
        return super().counted(positions) if self.mask is None else self.mask.sum(1).cpu()

    def filled(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "rows positions channels"]:
        """Put the average of a text in place of its padding, so that whoever averages over positions gets it.

        Args:
            positions: All tokens.
        """
        if self.mask is None:
            return positions
        mean = pool(positions, self.mask).to(positions.dtype)
        return torch.where(self.mask[:, :, None], positions, mean[:, None])

    def positions_of(
        self, whole: Float[Tensor, "rows all_positions channels"]
    ) -> Float[Tensor, "rows positions channels"]:
        """Give all tokens, padding included.

        Args:
            whole: All that a site holds.
        """
        return whole

    def with_positions(
        self,
        whole: Float[Tensor, "rows all_positions channels"],
        changed: Float[Tensor, "rows positions channels"],
    ) -> Float[Tensor, "rows all_positions channels"]:
        """Put changed tokens in; padding stays bit for bit.

        Args:
            whole: As given to `positions_of`.
            changed: All tokens, steered.
        """
        return changed if self.mask is None else torch.where(self.mask[:, :, None], changed, whole)

    def grid_at(self, positions: int) -> tuple[int, int]:
        """Give a single row of tokens.

        Args:
            positions: How many there are.
        """
        return 1, positions

    def pooled(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "rows channels"]:
        """Average over the tokens that the model attends to, in float32.

        Args:
            positions: All tokens.
        """
        return pool(positions, self.mask)

    def places(self, positions: int, count: int, generator: torch.Generator) -> Tensor:
        """Choose tokens at random, with replacement, among those that the model attends to.

        Args:
            positions: How many there are, padding included.
            count: How many to choose.
            generator: The source of chance, on the processor.

        Returns:
            (rows, count) on the processor.
        """
        if self.mask is None:
            return torch.randint(positions, (self.rows, count), generator=generator)
        chances = self.mask.cpu().float() + (~self.mask.any(1, keepdim=True)).cpu().float()
        return torch.multinomial(chances, count, replacement=True, generator=generator)
