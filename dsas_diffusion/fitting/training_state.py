"""The state of a training as one file: written whole, read back only by the training that it belongs to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import InputError
from ..files import atomic_write, writing

STATE: Final = "training.safetensors"


class TrainingState(NamedTuple):
    """Where a training stands.

    Args:
        iteration: How many iterations are done.
        tensors: Parameters and the optimiser's own.
        losses: The terms of every iteration that is done.
    """

    iteration: int
    tensors: dict[str, Tensor]
    losses: list[dict[str, float]]


def save_state(
    folder: str, about: Mapping[str, Any], iteration: int, tensors: Mapping[str, Tensor], losses: list[dict[str, float]]
) -> None:
    """Write a state, in the place of an earlier one.

    Args:
        folder: Where to.
        about: What the training is: its settings, prompts and sites.
        iteration: How many iterations are done.
        tensors: Parameters and the optimiser's own.
        losses: The terms of every iteration that is done.
    """
    described = {"about": json.dumps(about, sort_keys=True), "iteration": str(iteration), "losses": json.dumps(losses)}
    with writing(Path(folder)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    atomic_write(Path(folder) / STATE, save({key: t.cpu().contiguous() for key, t in tensors.items()}, described))


def check_free(folder: str, resume: bool) -> None:
    """Refuse a folder with a state that would be lost.

    Args:
        folder: Where the training's state would be written.
        resume: Whether to go on from one that is there.

    Raises:
        InputError: If there is one and `resume` is not set.
    """
    if not resume and (Path(folder) / STATE).exists():
        raise InputError(f"{folder} holds a training already. Go on with it by resume=True, or name another folder.")


def load_state(folder: str, about: Mapping[str, Any], resume: bool) -> TrainingState | None:
    """Read the state that a training left.

    Args:
        folder: Where.
        about: What this training is.
        resume: Whether to go on from it.

    Returns:
        The state; `None` if there is none yet.

    Raises:
        InputError: If there is one and `resume` is not set, it can't be read, or it is another training's.
    """
    path = Path(folder) / STATE
    check_free(folder, resume)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            described = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        found, iteration = json.loads(described["about"]), int(described["iteration"])
        losses = json.loads(described["losses"])
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} can't be read as a training's state ({type(error).__name__}). Delete it to begin again."
        ) from error
    wanted = json.loads(json.dumps(about))
    other = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if other:
        raise InputError(
            f"{path} belongs to another training: {other[0]} is {found.get(other[0])!r} there and "
            f"{wanted.get(other[0])!r} here. Use the settings that it began with, or another folder."
        )
    return TrainingState(iteration, tensors, losses)
