"""What a prompt set is: source, target and control texts of one concept, checked as it is made."""

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import InputError
from .files import atomic_folder
from .records import SUFFIXES
from .words import key_of

FIT_GROUPS = ("source", "target", "control")
CHECK_GROUPS = ("source", "control", "mixed")
GROUPS = (*FIT_GROUPS, *(f"{split}_{kind}" for split in ("tuning", "heldout") for kind in CHECK_GROUPS))


@dataclass(frozen=True)
class Prompt:
    """One text to generate from, and what its picture should show.

    Args:
        text: The prompt.
        labels: Names of the things that the picture should show; presence measures count them.
        named: `False` when the concept is asked for without its own name (a synonym, a description, a misspelling).
    """

    text: str
    labels: tuple[str, ...] = ()
    named: bool = True


@dataclass(frozen=True)
class Concept:
    """What a prompt set is about.

    Args:
        label: The concept's name among prompt labels, such as `"banana"`.
        text: The concept as a text for CLIP, such as `"a photo of a banana"`.
        alternatives: Texts that CLIP's zero-shot choice sets against `text`; they should cover what pictures without
            the concept show.
    """

    label: str
    text: str
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptSet:
    """The texts that one concept is learned from and judged on.

    Maps are learned from source to target, gates from source against control. A prompt may stand both in target and in
    control (C = T is a case worth studying); held-out prompts, tuning prompts and fit prompts never share one.

    Args:
        name: How the set is called in reports; the bundled name, or the folder's or file's.
        source: Prompts that show the concept; at least one.
        target: Prompts that show what should appear instead. May be empty for methods that need none.
        control: Prompts whose pictures must come out untouched; at least one.
        concept: What the set is about.
        heldout: `"source"`, `"control"`, `"mixed"` → prompts for final figures only. `mixed` shows the concept beside
            something else.
        tuning: The same keys → prompts to choose settings on.
        twins: Whether `target[i]` is the scene of `source[i]` without the concept, word for word otherwise, so that
            both drawn from one seed differ where the concept is. Then both have the same length.

    Raises:
        InputError: If a prompt is empty or stands twice, source or control is empty, a prompt is shared between the
            fit, tuning and held-out parts, twins differ in number, or a key is unknown.
    """

    name: str
    source: tuple[Prompt, ...]
    target: tuple[Prompt, ...]
    control: tuple[Prompt, ...]
    concept: Concept
    heldout: Mapping[str, tuple[Prompt, ...]] = field(default_factory=dict)
    tuning: Mapping[str, tuple[Prompt, ...]] = field(default_factory=dict)
    twins: bool = False

    def __post_init__(self) -> None:
        for part, groups in (("heldout", self.heldout), ("tuning", self.tuning)):
            for key in groups:
                if key not in CHECK_GROUPS:
                    raise InputError(
                        f"{part} of the prompt set {self.name!r} has the key {key!r}; accepted are {CHECK_GROUPS}."
                    )
        validate(
            self.name,
            {
                group: [(prompt, f"{group}[{index}]") for index, prompt in enumerate(prompts)]
                for group, prompts in self.groups().items()
            },
        )
        if self.twins and len(self.source) != len(self.target):
            raise InputError(
                f"The prompt set {self.name!r} says that its target prompts are twins of its source prompts, but there "
                f"are {len(self.source)} source and {len(self.target)} target prompts. Write one target for each "
                "source, in the same order, or set twins to false."
            )

    def groups(self) -> dict[str, tuple[Prompt, ...]]:
        """Give all prompts that there are, by group.

        Returns:
            `"source"`, `"heldout_mixed"` … → prompts, in a fixed order, without empty groups.
        """
        parts = {"source": self.source, "target": self.target, "control": self.control}
        for split, groups in (("tuning", self.tuning), ("heldout", self.heldout)):
            parts |= {f"{split}_{kind}": tuple(groups.get(kind, ())) for kind in CHECK_GROUPS}
        return {group: prompts for group, prompts in parts.items() if prompts}

    def texts(self, group: str) -> list[str]:
        """Give one group's texts, as pipelines take them.

        Args:
            group: `"source"`, `"target"`, `"control"`, or a key such as `"heldout_mixed"`.

        Returns:
            The texts; empty if the set has none in this group.

        Raises:
            InputError: If there is no such group.
        """
        if group not in GROUPS:
            raise InputError(
                f"There is no prompt group {group!r}.{did_you_mean(group, GROUPS)} Groups are {', '.join(GROUPS)}."
            )
        return [prompt.text for prompt in self.groups().get(group, ())]

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the name, so that a copied or moved set keeps its digest."""
        content = {
            "concept": asdict(self.concept),
            "twins": self.twins,
            "groups": {group: [asdict(prompt) for prompt in prompts] for group, prompts in self.groups().items()},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_folder(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the set as a folder of JSONL files and `concept.json`, whole or not at all.

        Args:
            path: The folder, which `load_prompts` reads again.
            overwrite: Whether an earlier set there (and its README.md) may be replaced.

        Returns:
            The folder.

        Raises:
            InputError: If the folder is in the way or can't be written.
        """
        own = [f"{group}{suffix}" for group in GROUPS for suffix in SUFFIXES]
        with atomic_folder(path, overwrite=["concept.json", "README.md", *own] if overwrite else False) as folder:
            about = asdict(self.concept) | {"twins": self.twins}
            (folder / "concept.json").write_text(
                json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            for group, prompts in self.groups().items():
                lines = [
                    json.dumps({"prompt": p.text, "labels": p.labels, "named": p.named}, ensure_ascii=False) + "\n"
                    for p in prompts
                ]
                (folder / f"{group}.jsonl").write_text("".join(lines), encoding="utf-8")
        return Path(path)


def validate(name: str, placed: Mapping[str, list[tuple[Prompt, str]]]) -> None:
    """Refuse what no figure should be built on: one-sided sets, empty and repeated prompts, leaks between the parts.

    Args:
        name: The set's name, for messages.
        placed: Group → its prompts, each with the place it stands at ("source.jsonl, line 3").

    Raises:
        InputError: At the first mistake; the message names its place.
    """
    for group, missing in (("source", "show the concept"), ("control", "must come out untouched")):
        if not placed.get(group):
            raise InputError(
                f"The prompt set {name!r} is one-sided: it has no {group} prompts. Add a {group} group of prompts "
                f"whose pictures {missing}; 32 are a good number."
            )
    seen: dict[str, tuple[str, str]] = {}
    for part, groups in (("fit", FIT_GROUPS), ("tuning", GROUPS[3:6]), ("heldout", GROUPS[6:])):
        for group in groups:
            inside: dict[str, str] = {}
            for prompt, place in placed.get(group, ()):
                key = key_of(prompt.text)
                if not key:
                    raise InputError(
                        f"{place}: the prompt is empty. Write a text to generate from, or remove the entry."
                    )
                if key in inside:
                    raise InputError(
                        f"{place}: the prompt {prompt.text!r} already stands at {inside[key]}. Keep one of the two."
                    )
                inside[key] = place
                other_part, other_place = seen.setdefault(key, (part, place))
                if other_part != part:
                    raise InputError(
                        f"{place}: the {group} prompt {prompt.text!r} also stands at {other_place}. Fit, tuning and "
                        "held-out prompts must differ, or the figures measure what was learned by heart. Reword one of "
                        "the two."
                    )


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Suggest the choice that is spelled most like a word.

    Args:
        word: What came.
        choices: What is accepted.

    Returns:
        A sentence with a space before it, or nothing if no choice is close.
    """
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
