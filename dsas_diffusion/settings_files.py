"""Settings read from YAML into dataclasses: unknown keys and wrong values are told in one paragraph."""

import re
from argparse import ArgumentError
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from .errors import InputError
from .files import read_text
from .prompt_set import did_you_mean

Kind = TypeVar("Kind")


def load_settings(kind: type[Kind], path: Path) -> Kind:
    """Read one dataclass from a file.

    Args:
        kind: The dataclass; its fields are the keys, other dataclasses may be inside.
        path: A YAML file.

    Raises:
        InputError: If the file can't be read, is no YAML, a key or value is not what is accepted, or the class refuses
            it.
    """
    import yaml
    from jsonargparse import ArgumentParser

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}. Mend that line.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no keys and values, but a {kind.__name__.lower()} is made of them.")
    accepted = [each.name for each in fields(kind)]  # ty: ignore[invalid-argument-type]
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
