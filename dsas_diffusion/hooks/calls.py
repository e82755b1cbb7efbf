"""What one call of a model is: which rows follow the prompt, which step it is, which positions may be changed."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import InputError
from .guidance import Half

#: Which tokens of a text are learned from, or steered; `"last"` is the prompt's last one, which decides how it goes on.
Tokens = Literal["prompt", "last", "continuation", "both"]


def checked_tokens(tokens: Tokens) -> Tokens:
    """Give a part of texts back, if it is one.

    Raises:
        InputError: If it is not.
    """
    if tokens not in get_args(Tokens):
        raise InputError(f"tokens must be one of {', '.join(map(repr, get_args(Tokens)))}, but is {tokens!r}.")
    return tokens


@dataclass(kw_only=True)  # not frozen: where one is, torch 2.6 compiles anew for every other step
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
    #: Whether a run's later calls bring further positions of the same sample, as of a text that is continued.
    in_parts: ClassVar[bool] = False

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
