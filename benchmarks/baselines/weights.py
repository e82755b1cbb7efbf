"""Changed weights that come back exactly: W + s ΔW for as long as a context lasts, and what learns ΔW."""

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dsas_diffusion.files import atomic_folder
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import CallArguments, Conditions, Technique, as_asked

from .texts import require

_FILE = "change.safetensors"


class WeightEdit(Technique):
    """W + s ΔW of a denoiser's weights, where ΔW was learned once.

    Attributes:
        called: What messages call it.
        kinds: The pipelines that it is for.
    """

    called: ClassVar[str]
    kinds: ClassVar[tuple[type[DiffusionPipeline], ...]]

    def __init__(self) -> None:
        self.changes: dict[str, Tensor] = {}

    @abstractmethod
    def learned(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions
    ) -> dict[str, Tensor]:
        """Give ΔW by parameter's name.

        Args:
            pipe: The pipeline.
            concepts: What is erased together.
            conditions: Seed and sampling settings.
        """

    def prepare(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        require(pipe, conditions, self.called, *self.kinds)
        if not folder.is_dir():
            keep(self.learned(pipe, concepts, conditions), folder)
        self.changes = kept(folder)

    @contextmanager
    def applied(self, pipe: DiffusionPipeline, strength: float) -> Generator[CallArguments]:
        with changed(denoiser_of(pipe), self.changes, strength):
            yield as_asked


@contextmanager
def changed(module: nn.Module, changes: Mapping[str, Tensor], strength: float) -> Generator[None]:
    """Give parameters W + s ΔW; at the end they hold the very tensors from before.

    Args:
        module: Whose parameters.
        changes: Parameter's name → ΔW.
        strength: s; at 0 nothing is touched.
    """
    parameters = dict(module.named_parameters())
    before = {name: parameters[name].data for name in changes} if strength else {}
    try:
        for name, weight in before.items():
            changed_weight = torch.add(weight.float(), changes[name].to(weight.device), alpha=strength)
            parameters[name].data = changed_weight.to(weight.dtype)
        yield
    finally:
        for name, weight in before.items():
            parameters[name].data = weight


def kept(folder: Path) -> dict[str, Tensor]:
    """Read changes that were learned before.

    Args:
        folder: As for `Technique.prepare`.

    Returns:
        Parameter's name → ΔW.
    """
    return load_file(folder / _FILE)


def keep(changes: Mapping[str, Tensor], folder: Path) -> None:
    """Write changes.

    Args:
        changes: Parameter's name → ΔW.
        folder: As for `Technique.prepare`.
    """
    with atomic_folder(folder) as temporary:
        save_file({name: change.float().contiguous() for name, change in changes.items()}, temporary / _FILE)
