"""ActivationRecorder: pooled activations and a few positions, streamed out of a running pipeline."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from zlib import crc32

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..core.features import on_grid
from ..errors import InputError
from ..gates.base import Samples
from .calls import Tokens
from .image_tokens import warn_of_order
from .reader import Reader
from .sites import Handle, Site, watch


class ActivationRecorder:
    """Reads sites while a model runs, as a context manager; nothing is changed and no hook outlives it.

    Memory grows with samples × channels: positions are averaged inside the hook, and of each sample only a few random
    ones are kept.

    Args:
        model: The model.
        sites: What to read.
        calls: What tells of the running call which rows follow the prompt, which step it is and which positions count;
            the conditional rows are recorded.
        positions: How many positions of each sample to keep; 0 for none.
        steps: Which denoising steps to record, counted from 0 in each pipeline call; `None` for all.
        tokens: Which tokens of a text to record.
        merge: Make one sample of all calls of a run, as for a text that is written token by token; else each call is
            one.
        seed: Seed of the choice of positions, which depends on nothing else but the site's path and the step: every
            prompt has its positions at the same places. The global random state is not touched.

    Raises:
        InputError: On entry, if the model is compiled: a recording hook would be ignored or break the graph; or if a
            site is inside an attention module whose processor can't be seen through.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[Site],
        calls: Reader,
        positions: int = 4,
        steps: Collection[int] | None = None,
        tokens: Tokens = "both",
        merge: bool = False,
        seed: int = 0,
    ) -> None:
        self.model, self.sites, self.calls, self.positions = model, list(sites), calls, positions
        self.steps = None if steps is None else frozenset(steps)
        self.tokens, self.merge, self.seed = tokens, merge, seed
        self._warned = False
        self._handles: list[Handle] = []
        self._running: dict[str, list[_Call]] = {}
        self._finished: dict[str, list[tuple[list[int], list[_Call]]]] = {}

    def __enter__(self) -> Self:
        if any(getattr(module, "_compiled_call_impl", None) is not None for module in self.model.modules()):
            raise InputError(
                "Activations can't be recorded from a compiled model: its hooks may be ignored. Fit before "
                "`torch.compile`."
            )
        self._running = {site.path: [] for site in self.sites}
        self._finished = {site.path: [] for site in self.sites}
        try:
            for site in self.sites:
                self._handles.append(watch(self.model, site, self._reader(site)))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _reader(self, site: Site) -> Callable[[Tensor], None]:
        def read(activation: Tensor) -> None:
            whole = self.calls.call
            rows = whole.conditional
            if rows.stop <= rows.start or (self.steps is not None and whole.step not in self.steps):
                return
            call, held = whole.reduced_to(rows).only(self.tokens), activation[rows].detach()
            counts = call.counted(held.shape[1])
            if not counts.any():
                return
            seen = call.positions_of(held)
            if seen.shape[1] < held.shape[1] and not self._warned:
                self._warned = True
                warn_of_order(self.model)
            generator = torch.Generator().manual_seed(self.seed + crc32(f"{site.path} {call.step}".encode()))
            where = call.places(seen.shape[1], self.positions, generator)
            each = where.to(seen.device).expand(len(seen), -1)
            kept = seen.gather(1, each[:, :, None].expand(-1, -1, seen.shape[2]))
            grid = call.grid_at(seen.shape[1])
            self._running[site.path].append(_Call(call.pooled(seen).cpu(), kept.cpu(), where, grid, counts))

        return read

    def end_batch(self, prompts: Sequence[int]) -> None:
        """Close the samples of one pipeline call.

        Args:
            prompts: Index of the prompt behind each recorded row.
        """
        for path, calls in self._running.items():
            if calls and self.merge:
                calls = [_merged(calls, torch.Generator().manual_seed(self.seed + crc32(path.encode())))]
            if calls:
                self._finished[path].append((list(prompts), calls))
            self._running[path] = []

    def samples(self, regions: Float[Tensor, "prompts h w"] | None = None) -> dict[str, Samples]:
        """Give what was recorded, by site, and forget it: a sample is one (prompt, denoiser call).

        Args:
            regions: Where the concept is in each prompt's picture, 0 to 1, on any grid; `None` where nobody knows.
        """
        paths = [path for path, batches in self._finished.items() if batches]
        return {path: _joined(self._finished.pop(path), regions) for path in paths}  # never twice in memory


@dataclass
class _Call:
    """What one site recorded of one call.

    Args:
        pooled: (rows, channels).
        kept: (rows, k, channels).
        where: (k,) or (rows, k) positions of what is kept.
        grid: Height and width.
        counts: (rows,) how many positions were averaged.
    """

    pooled: Tensor
    kept: Tensor
    where: Tensor
    grid: tuple[int, int]
    counts: Tensor


def _merged(calls: list[_Call], generator: torch.Generator) -> _Call:
    """Join the calls of one run: averages over all positions, and kept ones chosen as if from all."""
    counts = torch.stack([call.counts for call in calls], dim=1).float()  # (rows, calls)
    total = counts.sum(1, keepdim=True).clamp(min=1)
    pooled = torch.einsum("rc,crd->rd", counts / total, torch.stack([call.pooled for call in calls]).float())
    kept = torch.stack([call.kept for call in calls], dim=1)  # (rows, calls, k, channels)
    chances = counts + (counts.sum(1, keepdim=True) == 0)
    chosen = torch.multinomial(chances, kept.shape[2], replacement=True, generator=generator)
    rows, slots = torch.arange(len(kept))[:, None], torch.arange(kept.shape[2])
    return _Call(pooled, kept[rows, chosen, slots], calls[0].where, calls[0].grid, total[:, 0])


def _joined(batches: list[tuple[list[int], list[_Call]]], regions: Tensor | None) -> Samples:
    pooled, prompts, kept, inside = [], [], [], []
    for rows, calls in batches:
        for call in calls:
            pooled.append(call.pooled)
            kept.append(call.kept.flatten(0, 1))
            prompts.append(torch.tensor(rows))
            if regions is not None:
                inside.append(on_grid(regions[rows], call.grid).flatten(1)[:, call.where].flatten())
    return Samples(torch.cat(pooled), torch.cat(prompts), torch.cat(kept), torch.cat(inside) if inside else None)
