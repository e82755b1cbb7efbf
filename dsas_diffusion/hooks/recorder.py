"""ActivationRecorder: pooled activations and a few positions, streamed out of a running pipeline."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.features import pool, to_positions
from ..errors import InputError
from ..gates.base import Samples
from .sites import Site


class ActivationRecorder:
    """Reads sites while a model runs, as a context manager; nothing is changed and no hook outlives it.

    Memory grows with samples × channels: positions are averaged inside the hook, and of each sample only a few random
    ones are kept.

    Args:
        model: The denoiser.
        sites: What to read.
        rows: From the batch size of a call to the rows to record (the conditional half).
        positions: How many positions of each sample to keep; 0 for none.
        seed: Seed of that choice. The global random state is not touched.

    Raises:
        InputError: On entry, if the model is compiled: a recording hook would be ignored or break the graph.
    """

    def __init__(
        self, model: nn.Module, sites: Sequence[Site], rows: Callable[[int], slice], positions: int = 4, seed: int = 0
    ) -> None:
        self.model, self.sites, self.rows, self.positions = model, list(sites), rows, positions
        self._generator = torch.Generator().manual_seed(seed)
        self._handles: list[RemovableHandle] = []
        self._running: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._finished: dict[str, list[Samples]] = {}

    def __enter__(self) -> Self:
        if any(getattr(module, "_compiled_call_impl", None) is not None for module in self.model.modules()):
            raise InputError(
                "Activations can't be recorded from a compiled model: its hooks may be ignored. Fit before "
                "`torch.compile`."
            )
        self._running = {site.path: [] for site in self.sites}
        self._finished = {site.path: [] for site in self.sites}
        for site in self.sites:
            module = self.model.get_submodule(site.path)
            self._handles.append(module.register_forward_hook(self._reader(site)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _reader(self, site: Site) -> Callable[[nn.Module, tuple, Tensor], None]:
        def read(module: nn.Module, args: tuple, output: Tensor) -> None:
            chosen = to_positions(output, site.layout)[self.rows(len(output))].detach()
            where = torch.randint(chosen.shape[1], (self.positions,), generator=self._generator)
            kept = chosen[:, where.to(chosen.device)]
            self._running[site.path].append((pool(chosen).cpu(), kept.float().cpu()))

        return read

    def end_batch(self, prompts: Sequence[int]) -> None:
        """Close the samples of one pipeline call.

        Args:
            prompts: Index of the prompt behind each recorded row.
        """
        for path, calls in self._running.items():
            if calls:
                pooled = torch.cat([pooled for pooled, _ in calls])
                kept = torch.cat([kept for _, kept in calls]).flatten(0, 1)
                self._finished[path].append(Samples(pooled, torch.tensor(prompts).repeat(len(calls)), kept))
            self._running[path] = []

    def samples(self) -> dict[str, Samples]:
        """Give what was recorded, by site: a sample is one (prompt, denoiser call)."""
        return {
            path: Samples(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
            for path, batches in self._finished.items()
        }
