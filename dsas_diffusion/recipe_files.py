"""Recipes read from YAML: a folder with one row a file, beside what all rows share."""

import os
import re
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Final, TypeVar

from .errors import InputError
from .files import read_text
from .prompt_set import did_you_mean
from .recipes import Protocol, Recipe, Studies

#: The file of what all rows share, beside them.
PROTOCOL: Final = "protocol.yaml"
#: That of the studies of sets.
STUDIES: Final = "studies.yaml"
_OTHERS: Final = (PROTOCOL, STUDIES)
_Kind = TypeVar("_Kind", Protocol, Recipe, Studies)


def load_protocol(path: str | os.PathLike[str]) -> Protocol:
    """Read what all rows share.

    Args:
        path: A YAML file with the fields of :class:`Protocol`.

    Raises:
        InputError: If the file can't be read, is no YAML, or a key or value is not what is accepted.
    """
    return _loaded(Protocol, Path(path))


def load_studies(path: str | os.PathLike[str]) -> Studies:
    """Read what the studies of sets are run on.

    Args:
        path: A YAML file with the fields of :class:`Studies`.

    Raises:
        InputError: As for :func:`load_protocol`.
    """
    return _loaded(Studies, Path(path))


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read one row.

    Args:
        path: A YAML file with the fields of :class:`Recipe`.

    Raises:
        InputError: If the file can't be read, is no YAML, a key or value is not what is accepted, or a registry has no
            such name.
    """
    return _loaded(Recipe, Path(path))


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


def _loaded(kind: type[_Kind], path: Path) -> _Kind:
    import yaml
    from jsonargparse import ArgumentParser

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}. Mend that line.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no keys and values, but a {kind.__name__.lower()} is made of them.")
    accepted = [each.name for each in fields(kind)]
    for key in content:
        if key not in accepted:
            raise InputError(
                f"{path} has the key {key!r}.{did_you_mean(str(key), accepted)} Accepted are {', '.join(accepted)}."
            )
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        return kind(**vars(parser.instantiate(parser.parse_object(content))))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ArgumentError, ValueError) as error:  # jsonargparse's own
        raise InputError(f"{path}: {in_one_paragraph(str(error))}") from error


def in_one_paragraph(message: str) -> str:
    """Take what jsonargparse says of a value down to keys, what is wrong and what is accepted.

    Args:
        message: Of several lines.
    """
    keys = re.findall(r'Parser key "(\w+)"', message)
    lines = [line.strip(" -") for line in message.splitlines()]
    dropped = ("Parser key", "Problem with given", "Does not validate", "Subtypes:", "Errors:", "Given value type")
    told = [line for line in lines if line and not line.startswith((*dropped, "Expected a <class 'NoneType'>"))]
    text = re.sub(r"<class '([\w.]+)'>", r"\1", " ".join(told)).replace("typing.", "")
    return f"{'.'.join(keys)}: {text.rstrip('.')}." if keys else f"{text.rstrip('.')}."
