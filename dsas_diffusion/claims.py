"""A folder claimed by the settings of what is kept in it, so that work taken up again is the same work."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .errors import InputError
from .evaluation.report import to_json
from .files import atomic_write, read_json, writing


def claim(folder: Path, settings: Mapping[str, Any], manifest: str, what: str) -> None:
    """Write the settings of some work into its folder, or see that they are those that stand there.

    Args:
        folder: Where the work is kept.
        settings: Everything that its parts depend on but their own names.
        manifest: The file for them, such as `"sweep.json"`.
        what: What the work is called, such as `"sweep"`.

    Raises:
        InputError: If other settings stand there, or the folder holds something else.
    """
    path, wanted = folder / manifest, json.loads(to_json(settings))
    if not path.is_file():
        with writing(folder):
            foreign = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        shown = sorted(name for name in foreign if not name.startswith("."))
        if shown:
            raise InputError(
                f"The folder {folder} holds {shown[0]!r} but no {manifest}, so it is no {what}'s. Name a new or empty "
                "folder with --out."
            )
        atomic_write(path, to_json(settings))
    kept = read_json(path)
    if not isinstance(kept, dict):
        raise InputError(f"{path} must hold a JSON object, but holds {type(kept).__name__}. Name another folder.")
    other = next((key for key in {**wanted, **kept} if kept.get(key) != wanted.get(key)), None)
    if other is not None:
        raise InputError(
            f"The folder {folder} holds work of another {what}, with another {other}: {kept.get(other)!r} there, "
            f"{wanted.get(other)!r} now. Their figures can't stand in one table. Name another folder with --out, or "
            f"take the settings of {manifest} there."
        )


#: Model → where its tensors lay, how often each had been written to and what each added up to; and their digest then.
_KNOWN: WeakKeyDictionary[nn.Module, tuple[list[tuple[int, int, str]], str]] = WeakKeyDictionary()


def weights_digest(model: nn.Module) -> str:
    """Give the digest of a model's weights; computed anew only when one was written to, since large ones take long.

    Args:
        model: The model.
    """
    tensors = sorted(model.state_dict().items())
    state = [(tensor.data_ptr(), tensor._version, _sum(tensor)) for _, tensor in tensors]
    known = _KNOWN.get(model)
    if known is None or known[0] != state:
        known = _KNOWN[model] = (state, digest(tensors))
    return known[1]


def _sum(tensor: Tensor) -> str:
    """What a tensor adds up to: writing through `.data`, as a merged LoRA does, changes no version."""
    return str(tensor.sum(dtype=torch.float64).item()) if type(tensor) is Tensor else ""


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names and values: figures of a model and of its next training can't stand in one table.

    Args:
        tensors: Name and tensor, in a fixed order.
    """
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
