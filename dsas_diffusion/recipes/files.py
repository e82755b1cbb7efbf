"""Recipes read from YAML: a folder with one row a file, beside what all rows share."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import InputError
from ..prompt_set import did_you_mean
from ..settings_files import load_settings
from .protocol import Protocol
from .recipe import Recipe, Studies

#: The file of what all rows share, beside them.
PROTOCOL: Final = "protocol.yaml"
#: That of the studies of sets.
STUDIES: Final = "studies.yaml"
_OTHERS: Final = (PROTOCOL, STUDIES)


def load_protocol(path: str | os.PathLike[str]) -> Protocol:
    """Read what all rows share.

    Args:
        path: A YAML file with the fields of :class:`Protocol`.

    Raises:
        InputError: If the file can't be read, is no YAML, or a key or value is not what is accepted.
    """
    return load_settings(Protocol, Path(path))


def load_studies(path: str | os.PathLike[str]) -> Studies:
    """Read what the studies of sets are run on.

    Args:
        path: A YAML file with the fields of :class:`Studies`.

    Raises:
        InputError: As for :func:`load_protocol`.
    """
    return load_settings(Studies, Path(path))


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read one row.

    Args:
        path: A YAML file with the fields of :class:`Recipe`.

    Raises:
        InputError: If the file can't be read, is no YAML, a key or value is not what is accepted, or a registry has no
            such name.
    """
    return load_settings(Recipe, Path(path))


def load_recipes(folder: str | os.PathLike[str], names: Sequence[str] = ()) -> dict[str, Recipe]:
    """Read rows of a folder.

    Args:
        folder: Where the recipes are; `protocol.yaml` and `studies.yaml` are none.
        names: Of their files, without the ending; none for all.

    Returns:
        Name → recipe: the model alone first, then by the names of their files.

    Raises:
        InputError: As for :func:`load_recipe`; or if there is no such row.
    """
    known = {path.stem: path for path in sorted(Path(folder).glob("*.yaml")) if path.name not in _OTHERS}
    for name in names:
        if name not in known:
            raise InputError(
                f"There is no recipe {name!r} in {folder}.{did_you_mean(name, known)} Choose one of: "
                f"{', '.join(known)}."
            )
    found = {name: load_recipe(known[name]) for name in dict.fromkeys(names or known)}
    for name, recipe in found.items():
        if recipe.against is not None and recipe.against not in known:
            raise InputError(
                f"The recipe {name!r} is to be compared with {recipe.against!r}, which is not in {folder}."
                f"{did_you_mean(recipe.against, known)}"
            )
    return dict(sorted(found.items(), key=lambda item: (item[1].method is not None, item[0])))
