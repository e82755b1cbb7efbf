"""Prompt sets from anywhere: bundled by name, or from your own folder, JSONL or CSV file."""

import os
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import read_json
from .prompt_set import CHECK_GROUPS, FIT_GROUPS, GROUPS, Concept, Prompt, PromptSet, did_you_mean, validate
from .records import SUFFIXES, Record, read_records

__all__ = [
    "Concept",
    "Prompt",
    "PromptSet",
    "bundled_cases",
    "bundled_prompts",
    "load_prompts",
    "read_cases",
    "read_prompts",
]

_WRITTEN_BOOLS = {"": True, "true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def load_prompts(source: str | os.PathLike[str]) -> PromptSet:
    """Load a prompt set by its bundled name, from a folder, or from one file.

    A folder holds `source`, `target`, `control`, `heldout_{source,control,mixed}` and `tuning_{source,control,mixed}`,
    each as `.jsonl` (`{"prompt": "…", "labels": ["banana"], "named": true}` a line) or `.csv` (columns `prompt`,
    `labels` separated by `;`, `named`), and `concept.json` (`{"label", "text", "alternatives", "twins"}`). A single
    file has the group in a further field or column `set`. Labels, `named` and all groups but source and control are
    optional; without `concept.json` the folder's or file's name is label and text.

    Args:
        source: A bundled name (`"banana"`, `"orchard/banana"`), or a path. Of a string that is both, the bundled set
            is taken; write `./banana` for the folder.

    Returns:
        The set, validated.

    Raises:
        InputError: If there is no such set, or it holds a mistake; the message names file and line.
    """
    if isinstance(source, str) and source in bundled_prompts():
        return _from_folder(_bundled_root() / source, source)
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, path.resolve().name)
    if path.is_file():
        return _from_file(path)
    names = bundled_prompts()
    raise InputError(
        f"There is no prompt set {os.fspath(source)!r}: neither a bundled name nor a folder or file."
        f"{did_you_mean(os.fspath(source), names)} Bundled are {', '.join(names)}."
    )


def bundled_prompts() -> list[str]:
    """List the prompt sets that come with the package.

    Returns:
        Their names, sorted, such as `"banana"` and `"orchard/banana"`.
    """
    root = _bundled_root()
    return sorted(file.parent.relative_to(root).as_posix() for file in root.glob("**/concept.json"))


def bundled_cases() -> list[str]:
    """List the files of cases that come with the package.

    Returns:
        Their names for `read_cases`, sorted, such as `"orchard/hard/banana"`.
    """
    root = _bundled_root()
    files = (file for file in root.glob("**/*.jsonl") if not (file.parent / "concept.json").exists())
    return sorted(file.relative_to(root).with_suffix("").as_posix() for file in files)


def read_prompts(path: str | os.PathLike[str]) -> tuple[Prompt, ...]:
    """Read one plain list of prompts, without groups.

    Args:
        path: A `.jsonl` or `.csv` file with the fields `prompt` and, optionally, `labels` and `named`.

    Returns:
        The prompts in the file's order; repeated ones are kept, since they may be drawn from different seeds.

    Raises:
        InputError: If a line is broken or lacks its prompt; the message names file and line.
    """
    return tuple(prompt_from_record(record) for record in read_records(path))


def read_cases(source: str | os.PathLike[str]) -> dict[str, tuple[Prompt, ...]]:
    """Read a list of prompts that says of each which case it is, such as a misspelling.

    Args:
        source: A bundled name (`"orchard/hard/banana"`), or a path as for :func:`read_prompts`, with a further field
            `case`.

    Returns:
        Case → its prompts, both in the file's order.

    Raises:
        InputError: If there is no such file, a line is broken, or lacks its prompt or case; the message names file and
            line.
    """
    names = bundled_cases()
    if isinstance(source, str) and source in names:
        source = _bundled_root() / f"{source}.jsonl"
    elif not Path(source).exists():
        raise InputError(
            f"There are no cases {os.fspath(source)!r}: neither a bundled name nor a file."
            f"{did_you_mean(os.fspath(source), names)} Bundled are {', '.join(names)}."
        )
    found: dict[str, list[Prompt]] = {}
    for record in read_records(source):
        case = record.fields.pop("case", None)
        if not _is_text(case):
            raise record.refuse(f"the field 'case' is {case!r}", "Name the case that the prompt is of.")
        found.setdefault(case, []).append(prompt_from_record(record))
    return {case: tuple(prompts) for case, prompts in found.items()}


def _bundled_root() -> Path:
    # One copy: at the repository's top in a checkout, inside the package in a wheel.
    packed = Path(__file__).parent / "_prompts"
    return packed if packed.is_dir() else Path(__file__).parents[1] / "prompts"


def _from_folder(folder: Path, name: str) -> PromptSet:
    placed: dict[str, list[tuple[Prompt, str]]] = {}
    for file in sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES):
        if file.stem not in GROUPS:
            raise InputError(
                f"{file} is no part of a prompt set.{did_you_mean(file.stem, GROUPS)} Files are called "
                f"{', '.join(GROUPS)}, with the ending .jsonl or .csv."
            )
        if file.stem in placed:
            raise InputError(f"{folder} holds {file.stem} both as .jsonl and as .csv. Keep one of the two.")
        placed[file.stem] = [(prompt_from_record(record), record.place) for record in read_records(file)]
    return _build(name, placed, folder / "concept.json")


def _from_file(path: Path) -> PromptSet:
    placed: dict[str, list[tuple[Prompt, str]]] = {}
    for record in read_records(path):
        group = record.fields.pop("set", None)
        if group not in GROUPS:
            raise record.refuse(
                f"the field 'set' is {group!r}" if group is not None else "the field 'set' is missing",
                f"It says which group the prompt belongs to: {', '.join(GROUPS)}.",
            )
        placed.setdefault(group, []).append((prompt_from_record(record), record.place))
    return _build(path.stem, placed, None)


def _build(name: str, placed: dict[str, list[tuple[Prompt, str]]], about: Path | None) -> PromptSet:
    validate(name, placed)
    concept, twins = _concept(about, name)
    parts = {group: tuple(prompt for prompt, _ in prompts) for group, prompts in placed.items()}
    return PromptSet(
        name=name,
        **{group: parts.get(group, ()) for group in FIT_GROUPS},
        concept=concept,
        heldout={kind: parts[f"heldout_{kind}"] for kind in CHECK_GROUPS if f"heldout_{kind}" in parts},
        tuning={kind: parts[f"tuning_{kind}"] for kind in CHECK_GROUPS if f"tuning_{kind}" in parts},
        twins=twins,
    )


def _concept(path: Path | None, name: str) -> tuple[Concept, bool]:
    if path is None or not path.exists():
        label = name.rsplit("/", 1)[-1]
        return Concept(label, label), False
    about = read_json(path)
    accepted = {"label": str, "text": str, "alternatives": list, "twins": bool}
    shape = (
        'an object such as {"label": "banana", "text": "a photo of a banana", "alternatives": ["a photo of an apple"]}'
    )
    if not isinstance(about, dict) or not {"label", "text"} <= about.keys() <= accepted.keys():
        raise InputError(f'{path} is not what describes a concept. Accepted is {shape}, with an optional "twins".')
    for key, value in about.items():
        entries = value if isinstance(value, list) else [value]
        if not isinstance(value, accepted[key]) or (key != "twins" and not all(_is_text(entry) for entry in entries)):
            raise InputError(f"{path}: {key!r} is {value!r}. Accepted is {shape}.")
    return Concept(about["label"], about["text"], tuple(about.get("alternatives", ()))), about.get("twins", False)


def prompt_from_record(record: Record) -> Prompt:
    fields = record.fields
    unknown = sorted(fields.keys() - {"prompt", "labels", "named"})
    if unknown:
        raise record.refuse(f"the field {unknown[0]!r} is unknown", "Accepted are 'prompt', 'labels' and 'named'.")
    if "prompt" not in fields:
        raise record.refuse("the field 'prompt' is missing", "Add the text to generate from.")
    text, labels, named = fields["prompt"], fields.get("labels", []), fields.get("named", True)
    if not isinstance(text, str):
        raise record.refuse(f"'prompt' is {text!r}, not a string", "Put the text in quotes.")
    if record.textual and isinstance(labels, str):
        labels = [label.strip() for label in labels.split(";") if label.strip()]
    if not isinstance(labels, list) or not all(_is_text(label) for label in labels):
        raise record.refuse(
            f"'labels' is {labels!r}, not a list of names", 'Write ["banana", "apple"], in CSV banana;apple.'
        )
    if record.textual and isinstance(named, str):
        named = _WRITTEN_BOOLS.get(named.strip().lower())
    if not isinstance(named, bool):
        raise record.refuse(f"'named' is {fields['named']!r}", "Accepted are true and false.")
    return Prompt(text, tuple(labels), named)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
