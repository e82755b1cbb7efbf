"""Changed weights that come back exactly: W + s ΔW for as long as a context lasts."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dsas_diffusion.files import atomic_folder

_FILE = "change.safetensors"


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


def kept(folder: Path) -> dict[str, Tensor] | None:
    """Read changes that were learned before.

    Args:
        folder: As for `Technique.prepare`.

    Returns:
        Parameter's name → ΔW, or `None` where there is no folder yet.
    """
    return load_file(folder / _FILE) if folder.is_dir() else None


def keep(changes: Mapping[str, Tensor], folder: Path) -> None:
    """Write changes.

    Args:
        changes: Parameter's name → ΔW.
        folder: As for `Technique.prepare`.
    """
    with atomic_folder(folder) as temporary:
        save_file({name: change.float().contiguous() for name, change in changes.items()}, temporary / _FILE)
