"""Questions with four answers, about the world and about a scene described before; some combinations are held out."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from ...errors import InputError
from ..world import GROUNDS, OBJECTS, SEEDS, check_name
from .choices import Chooser, Draw
from .descriptions import Thing, describe
from .lexicon import COLOURS, COLOURS_OF, CONDITIONS, CONDITIONS_OF, PROPERTIES, RELATIONS

LETTERS: Final = ("a", "b", "c", "d")
#: Kind of question → how often it is asked.
KINDS: Final = {
    "property": 0.22,
    "can be": 0.1,
    "never": 0.08,
    "colour": 0.14,
    "condition": 0.14,
    "table": 0.1,
    "on the table": 0.1,
    "relation": 0.12,
}
#: Questions that need no scene → how often they are asked once another question has been answered.
_WITHOUT_SCENE: Final = {"property": 0.55, "can be": 0.25, "never": 0.2}
#: How likely another question about the world follows, once and once more.
_ANOTHER: Final = 0.5
_WORDINGS: Final = ("what", "which of these")
#: Of what a question about a scene brings together, training leaves one combination in this many out.
_HELD_OUT: Final = 4
_BESIDE: Final = (*OBJECTS, "")
#: How often a text gives no choice of answers.
_OPEN: Final = 0.25


@dataclass(frozen=True)
class Key:
    """What a question brings together.

    Attributes:
        kind: One of ``KINDS``.
        about: The object that is asked about, or the fact.
        answer: The right answer.
        ground: The table of the scene; empty without a scene.
        partner: The object beside; empty for none, ``None`` where any will do.
        wording: How a fact is asked about.
        places: Where the right answer may stand among the four.
    """

    kind: str
    about: str
    answer: str
    ground: str = ""
    partner: str | None = None
    wording: str = ""
    places: tuple[int, ...] = (0, 1, 2, 3)


@dataclass(frozen=True)
class Question:
    """A question with four answers.

    Attributes:
        text: The scene, if any, and the question, to its question mark.
        choices: Four answers.
        answer: Which of them is right, from 0.
        kind: One of ``KINDS``.
    """

    text: str
    choices: tuple[str, ...]
    answer: int
    kind: str

    @property
    def prompt(self) -> str:
        """The question as a language model gets it; one of the choices comes next."""
        listed = " ".join(f"{letter} ) {choice}" for letter, choice in zip(LETTERS, self.choices, strict=True))
        return f"{self.text} {listed} answer :"

    @property
    def full(self) -> str:
        """The question with its answer."""
        return f"{self.prompt} {self.choices[self.answer]} ."

    def as_record(self) -> dict[str, Any]:
        """Give the question as plain values for a task file."""
        return {
            "question": self.text,
            "prompt": self.prompt,
            "choices": list(self.choices),
            "answer": self.answer,
            "kind": self.kind,
        }


@cache
def keys(kind: str, unseen: bool) -> tuple[Key, ...]:
    """List what may be asked.

    Args:
        kind: One of ``KINDS``.
        unseen: The combinations held out from training, or those that training asks.
    """
    if kind not in _WITHOUT_SCENE:
        return tuple(key for key in _all(kind) if _held_out(key) == unseen)
    # A fact is never left out, or training would teach that it is false; one place of its answer is.
    found = []
    for number, key in enumerate(_all(kind)):
        held_out = (number + number // 4) % 4
        found.append(replace(key, places=tuple(place for place in range(4) if (place == held_out) == unseen)))
    return tuple(found)


def _held_out(key: Key) -> bool:
    """Say whether training leaves a combination out of a scene's object, table, and answer or neighbour.

    Any object and answer come together elsewhere, so that reading the scene is the only way to be right.
    """
    third = {
        "colour": COLOURS_OF[key.about],
        "condition": CONDITIONS_OF[key.about],
        "relation": OBJECTS,
    }.get(key.kind, _BESIDE)
    place = third.index(key.answer if key.kind in ("colour", "condition", "relation") else key.partner or "")
    return (OBJECTS.index(key.about) + GROUNDS.index(key.ground) + place) % _HELD_OUT == 0


def _all(kind: str) -> list[Key]:
    facts = {
        "property": [(told, name) for told, names in PROPERTIES.items() for name in names],
        "can be": [(colour, name) for name in OBJECTS for colour in COLOURS_OF[name]],
        "never": [
            (colour, name)
            for colour in ("red", "green", "yellow")
            for name in OBJECTS
            if colour not in COLOURS_OF[name]
        ],
    }
    if kind in facts:
        return [Key(kind, told, name, wording=wording) for told, name in facts[kind] for wording in _WORDINGS]
    placed = [(name, ground) for name in OBJECTS for ground in GROUNDS]
    if kind in ("colour", "condition"):
        table = COLOURS_OF if kind == "colour" else CONDITIONS_OF
        return [Key(kind, name, word, ground) for name, ground in placed for word in table[name]]
    pairs = [(name, ground, other) for name, ground in placed for other in _BESIDE if other != name]
    if kind == "relation":
        return [Key(kind, name, other, ground, other) for name, ground, other in pairs if other]
    answers = {"table": 1, "on the table": 0}
    return [Key(kind, each[0], each[answers[kind]], *each[1:]) for each in pairs]


def ask(choice: Chooser, unseen: bool = False) -> Question:
    """Ask a question with four answers.

    Args:
        choice: Makes the choices.
        unseen: Whether to ask what is held out from training.
    """
    return _with_choices(choice, KINDS, unseen)


def _with_choices(choice: Chooser, kinds: Mapping[str, float], unseen: bool) -> Question:
    text, key, wrong = _ask(choice, kinds, unseen)
    place = choice.choose(key.places)
    choices: list[str] = []
    while len(choices) < 3:
        choices.append(choice.choose([word for word in wrong if word not in choices]))
    choices.insert(place, key.answer)
    return Question(text, tuple(choices), place, key.kind)


def question_text(choice: Chooser) -> str:
    """Write one to three questions of those that training asks, with their answers; some have no choice of answers."""
    said = [_answered(choice, KINDS)]
    while len(said) < 3 and choice.chance(_ANOTHER):
        said.append(_answered(choice, _WITHOUT_SCENE))
    return " ".join(said)


def _answered(choice: Chooser, kinds: Mapping[str, float]) -> str:
    if choice.chance(_OPEN):
        text, key, _ = _ask(choice, kinds, unseen=False)
        return f"{text} answer : {key.answer} ."
    return _with_choices(choice, kinds, unseen=False).full


def _ask(choice: Chooser, kinds: Mapping[str, float], unseen: bool) -> tuple[str, Key, list[str]]:
    """Choose a question: its text to the question mark, its key, and the wrong answers."""
    kind = choice.choose(tuple(kinds), tuple(kinds.values()))
    key = choice.choose(keys(kind, unseen))
    if kind in _WITHOUT_SCENE:
        how = {"property": "is", "can be": "can be", "never": "is never"}[kind]
        return f"question : {key.wording} {how} {key.about} ?", key, _others(key)
    colour, condition = (key.answer if kind == said else "" for said in ("colour", "condition"))
    thing = Thing(key.about, colour=colour, condition=condition)
    # Which of two things was asked about is known from the question or the answer, or else by standing first.
    told = describe(choice, thing, ground=key.ground, partner=key.partner, first=kind == "table")
    here = [thing.name for thing in told.things]
    if kind == "relation":
        relation = told.relation if here[1] == key.about else RELATIONS[told.relation]
        question = f"what is {relation} the {key.about} ?"
    else:
        question = {
            "colour": f"what colour {thing.verb} the {key.about} ?",
            "condition": f"how {thing.verb} the {key.about} ?",
            "table": "which table is it ?",
            "on the table": "what is on the table ?",
        }[kind]
    words = {"colour": COLOURS, "condition": CONDITIONS, "table": GROUNDS}.get(kind, OBJECTS)
    wrong = [word for word in words if word != key.answer and (words is not OBJECTS or word not in here)]
    return f"{told.text} question : {question}", key, wrong


def _others(key: Key) -> list[str]:
    """The objects of which the fact is not true."""
    if key.kind == "property":
        return [name for name in OBJECTS if name not in PROPERTIES[key.about]]
    return [name for name in OBJECTS if (key.about in COLOURS_OF[name]) == (key.kind == "never")]


def four_way_questions(n: int, split: str = "test", first: int = 0) -> list[Question]:
    """Ask questions whose combinations no training has seen.

    Args:
        n: How many.
        split: The range of seeds: ``"tuning"``, ``"evaluation"`` or ``"test"``.
        first: Which of the split's questions comes first.

    Returns:
        n questions, each with four answers of which one is right.

    Raises:
        InputError: If the split is unknown, or has fewer questions.
    """
    accepted = ("tuning", "evaluation", "test")
    check_name("split of questions", split, accepted)
    if n < 1 or first < 0 or first + n > len(SEEDS[split]):
        raise InputError(
            f"n={n} questions from first={first} on don't lie in the split {split!r}, which has {len(SEEDS[split]):,}. "
            "Take n of at least 1 and a first of at least 0 that leaves room for them."
        )
    seeds = range(SEEDS[split].start + first, SEEDS[split].start + first + n)
    return [ask(Draw(random.Random(f"question {seed}")), unseen=True) for seed in seeds]
