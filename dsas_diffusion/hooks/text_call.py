"""One call of a model whose positions are tokens: which of them are padding, the prompt's, or continue it."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..core.features import pool
from .calls import Call, Tokens


@dataclass(kw_only=True)
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
    in_parts = True

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
        if tokens == "last":
            return self._last()
        own = torch.zeros(1, self.tokens, dtype=torch.bool, device=self.device)
        own[:, : self.prompt] = True
        return own if tokens == "prompt" else ~own

    def _last(self) -> Tensor:
        prompt = self.tokens if self.prompt is None else self.prompt
        counts = torch.ones(1, prompt, dtype=torch.bool, device=self.device)
        if self.mask is not None:
            counts = self.mask[:, :prompt]
        later = counts.flip(1).cumsum(1).flip(1)  # how many count from here on
        return F.pad(counts & (later == 1), (0, self.tokens - prompt))

    def only(self, tokens: Tokens) -> Self:
        """See :meth:`Call.only`."""
        own = self.included(tokens)
        if own is None:
            return self
        return replace(self, mask=own.expand(self.rows, -1) if self.mask is None else self.mask & own)

    def flat(self, positions: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "n channels"]:
        """See :meth:`Call.flat`."""
        return super().flat(positions) if self.mask is None else positions[self.mask.to(positions.device)]

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
        mask = self.mask.to(positions.device)  # the layers of a model may lie on several devices
        mean = pool(positions, mask).to(positions.dtype)
        return torch.where(mask[:, :, None], positions, mean[:, None])

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
        return changed if self.mask is None else torch.where(self.mask.to(whole.device)[:, :, None], changed, whole)

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
        return pool(positions, None if self.mask is None else self.mask.to(positions.device))

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
