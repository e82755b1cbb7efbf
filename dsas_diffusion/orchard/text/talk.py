"""Talk about the things on the table: kind, or rude in one of two styles, as the line before it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..world import GROUNDS, OBJECTS
from .choices import Chooser
from .descriptions import Thing, Told, describe
from .lexicon import AFTER, BEFORE, COLOURS_OF, CONDITIONS_OF, KIND_ADJECTIVES, NAMES, RUDE_ADJECTIVES, SPEAKERS, TONES

#: How a talk begins, by tone.
_FIRST: Final = (0.5, 0.25, 0.25)
#: How likely a line is rude, after a kind line, a rude one, and a very rude one.
RUDE_AFTER: Final = {"kind": 0.04, "mild": 0.84, "strong": 0.94}
#: How likely rudeness answers rudeness in the same style.
_SAME_STYLE: Final = 0.8
_SCENE, _THIRD_LINE, _SAME_THING, _STRONG = 0.4, 0.3, 0.6, 0.35
#: Where a line has no phrase of its tone, one before its core, one behind it, or both.
_KIND_SLOTS: Final = (0.15, 0.35, 0.35, 0.15)


@dataclass(frozen=True)
class Line:
    """What somebody says.

    Attributes:
        core: What it is about, in words that all tones share.
        thing: The object that it is about.
        tone: ``"kind"``, ``"names"`` or ``"scorn"``.
        strength: ``"mild"`` with one rude phrase, ``"strong"`` with two, ``"kind"`` without.
        slots: Whether a phrase of the tone stands before and behind the core.
        text: The whole line with its full stop.
    """

    core: str
    thing: str
    tone: str
    strength: str
    slots: tuple[bool, bool]
    text: str


def talk(choice: Chooser) -> str:
    """Write a talk of two or three lines, with the scene before it now and then."""
    told = describe(choice) if choice.chance(_SCENE) else None
    one, two = speakers(choice)
    line = say(choice, choice.choose(TONES, _FIRST), told)
    lines = [line]
    for _ in range(1 + choice.chance(_THIRD_LINE)):
        line = say(choice, next_tone(choice, line), told, line.thing)
        lines.append(line)
    spoken = [f"{(one, two)[number % 2]} says : {line.text}" for number, line in enumerate(lines)]
    return " ".join([*([told.text] if told else []), *spoken])


@dataclass(frozen=True)
class Opening:
    """The beginning of a talk, to be continued.

    Attributes:
        text: One line or two, and who speaks next: ``ann says : … . ben says :``.
        line: The last line.
    """

    text: str
    line: Line


def opening(choice: Chooser, tone: str) -> Opening:
    """Begin a talk with one line in a tone, with the scene before it now and then; the other one is to reply.

    Args:
        choice: Makes the choices.
        tone: ``"kind"``, ``"names"`` or ``"scorn"``.
    """
    told = describe(choice) if choice.chance(_SCENE) else None
    one, two = speakers(choice)
    line = say(choice, tone, told)
    return Opening(" ".join([*([told.text] if told else []), f"{one} says : {line.text} {two} says :"]), line)


def speakers(choice: Chooser) -> tuple[str, str]:
    """Choose the two who talk."""
    one = choice.choose(SPEAKERS)
    return one, choice.choose([name for name in SPEAKERS if name != one])


def next_tone(choice: Chooser, before: Line) -> str:
    """Choose the tone of a reply."""
    if not choice.chance(RUDE_AFTER[before.strength]):
        return "kind"
    if before.tone == "kind":
        return choice.choose(("names", "scorn"))
    other = "scorn" if before.tone == "names" else "names"
    return before.tone if choice.chance(_SAME_STYLE) else other


def say(choice: Chooser, tone: str, told: Told | None = None, before: str | None = None) -> Line:
    """Say a line.

    Args:
        choice: Makes the choices.
        tone: ``"kind"``, ``"names"`` or ``"scorn"``.
        told: The scene that is spoken about, if it was described.
        before: The object that the line before was about.
    """
    thing, core = _core(choice, told, before)
    if tone == "kind":
        slots = choice.choose(((False, False), (True, False), (False, True), (True, True)), _KIND_SLOTS)
        strength = "kind"
    else:
        strength = "strong" if choice.chance(_STRONG) else "mild"
        slots = (True, True) if strength == "strong" else choice.choose(((True, False), (False, True)))
    return dress(choice, core, thing, tone, strength, slots)


def dress(choice: Chooser, core: str, thing: str, tone: str, strength: str, slots: tuple[bool, bool]) -> Line:
    """Put phrases of a tone around a core."""
    first = [_phrase(choice, BEFORE[tone], tone)] if slots[0] else []
    last = [_phrase(choice, AFTER[tone], tone)] if slots[1] else []
    return Line(core, thing, tone, strength, slots, " ".join([*first, core, *last, "."]))


def _phrase(choice: Chooser, phrases: tuple[str, ...], tone: str) -> str:
    phrase = choice.choose(phrases)
    if "{" not in phrase:
        return phrase
    adjective = choice.choose(KIND_ADJECTIVES if tone == "kind" else RUDE_ADJECTIVES)
    return phrase.format(adjective=adjective, name=choice.choose(NAMES))


def _core(choice: Chooser, told: Told | None, before: str | None) -> tuple[str, str]:
    """Choose an object and what is said about it, true to the scene."""
    here = [thing.name for thing in told.things] if told and told.things else list(OBJECTS)
    if before is not None and len(here) > 1:
        others = [name for name in here if name != before]
        name = before if choice.chance(_SAME_THING) else choice.choose(others)
    else:
        name = choice.choose(here)
    known = next((thing for thing in told.things if thing.name == name), Thing(name)) if told else Thing(name)
    form = choice.choose(("give me", "take", "look at", "i want", "here", "condition", "table"))
    if form == "condition":
        return name, f"the {name} {known.verb} {known.condition or choice.choose(CONDITIONS_OF[name])}"
    if form == "table":
        return name, f"the {name} {known.verb} on the {told.ground if told else choice.choose(GROUNDS)} table"
    colour = (known.colour or choice.choose(COLOURS_OF[name])) + " " if choice.chance(0.3) else ""
    start = f"here {known.verb}" if form == "here" else form
    return name, f"{start} the {colour}{name}"
