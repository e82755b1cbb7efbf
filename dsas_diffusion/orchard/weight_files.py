"""The folders of committed weights, read so that a missing or cut-off file explains itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from ..files import atomic_folder, read_json

if TYPE_CHECKING:
    import torch

#: Where the committed weights lie: one folder a model.
WEIGHTS: Final = Path(__file__).parent / "weights"


def weights_folder(model: str, folder: str | Path | None, files: Sequence[str]) -> Path:
    """Find a model's folder and make sure that its files are there and whole.

    Args:
        model: The model's name on the command line: ``"detector"``, ``"clip"``, ``"unet"``, ``"dit"``,
            ``"language"``.
        folder: A folder to use instead of the committed one; ``None`` for the committed one.
        files: The files that must be there, relative to the folder. Those that end in ``.safetensors`` are checked for
            their full length, those that end in ``.json`` for being JSON.

    Returns:
        The folder.

    Raises:
        InputError: If the folder or a file is missing or broken.
    """
    path = WEIGHTS / model if folder is None else Path(folder)
    mend = (
        f"Restore it from the repository, or train it again with `dsas orchard train {model}`."
        if folder is None
        else f"Give the folder that `dsas orchard train {model}` wrote, or leave it out for the committed weights."
    )
    if not path.is_dir():
        raise InputError(f"The weights of Orchard's {model} are not there: {path} is not a folder. {mend}")
    for name in files:
        file = path / name
        if not file.is_file():
            raise InputError(f"The weights of Orchard's {model} are incomplete: {file} is missing. {mend}")
        if file.suffix == ".safetensors":
            _check_whole(file, mend)
        elif file.suffix == ".json":
            read_json(file)
    return path


def _check_whole(file: Path, mend: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file} is cut off or is not a safetensors file ({error}; {file.stat().st_size:,} bytes). {mend}"
        ) from error


def read_config(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: If the file is not JSON, or holds something else than an object.
    """
    config = read_json(file)
    if not isinstance(config, dict):
        raise InputError(f"{file} holds a JSON {type(config).__name__}; accepted is an object.")
    return config


def read_tensors(file: Path, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file, in the types of those that they replace.

    Args:
        file: The file.
        like: By name, tensors of the shapes and types that are needed.

    Raises:
        InputError: If a tensor is missing, is not known, or has another shape; the first difference is named.
    """
    from safetensors.torch import load_file

    tensors = load_file(file)
    for name in sorted({*like, *tensors}):
        wanted, came = like.get(name), tensors.get(name)
        if wanted is None or came is None or wanted.shape != came.shape:
            raise InputError(
                f"{file} does not fit this version's model: tensor {name!r} should be "
                f"{'absent' if wanted is None else tuple(wanted.shape)}, but is "
                f"{'absent' if came is None else tuple(came.shape)}. Train it again, or use the version that wrote it."
            )
    return {name: tensor.to(like[name].dtype) for name, tensor in tensors.items()}


def write_weights(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    files: Mapping[str, Any],
    name: str,
    also: Callable[[Path], Any] = lambda folder: None,
) -> None:
    """Write a model's folder whole: its tensors in half precision, and its JSON files.

    Args:
        folder: The folder, replaced if it is there.
        tensors: By name; floating-point ones are stored as float16.
        files: By file name, what to store as JSON.
        name: The file name of the tensors.
        also: Writes more into the folder that it gets.
    """
    import torch
    from safetensors.torch import save_file

    halves = {
        key: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for key, value in tensors.items()
    }
    if broken := [
        key for key, value in halves.items() if value.is_floating_point() and not torch.isfinite(value).all()
    ]:
        raise ValueError(f"not finite in half precision: {', '.join(broken)}")
    with atomic_folder(folder, overwrite=True) as partial:
        save_file(halves, partial / name, metadata={"format": "pt"})
        for file, content in files.items():
            (partial / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        also(partial)
