"""Descriptions of scenes, consistent with the world: no banana is blue, no book is ripe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..grammar import with_article
from ..world import GROUNDS, OBJECTS
from .choices import Chooser
from .lexicon import COLOURS_OF, CONDITIONS_OF, RELATIONS

_EMPTY: Final = 0.06
_PAIR: Final = 0.6


@dataclass(frozen=True)
class Thing:
    """What a description says of one object; empty where it says nothing.

    Attributes:
        name: One of ``OBJECTS``.
        size: ``"small"`` or ``"big"``.
        colour: One of the object's colours.
        condition: One of the object's states.
        colour_first: Whether the colour stands before the noun, not in a sentence of its own.
    """

    name: str
    size: str = ""
    colour: str = ""
    condition: str = ""
    colour_first: bool = True

    @property
    def verb(self) -> str:
        """``is`` or ``are``."""
        return "are" if self.name == "grapes" else "is"

    @property
    def phrase(self) -> str:
        """The object with its article, size and colour."""
        words = " ".join(word for word in (self.size, self.colour if self.colour_first else "", self.name) if word)
        return f"some {words}" if self.name == "grapes" else with_article(words)


@dataclass(frozen=True)
class Told:
    """A described scene.

    Attributes:
        text: One sentence or more.
        things: What is in it, at most two.
        ground: The table.
        relation: How the first thing lies to the second; empty where there is no second.
        opening: The first sentence alone.
    """

    text: str
    things: tuple[Thing, ...]
    ground: str
    relation: str
    opening: str


def describe(
    choice: Chooser,
    asked: Thing | None = None,
    *,
    ground: str | None = None,
    partner: str | None = None,
    first: bool = False,
    objects: Sequence[str] = OBJECTS,
) -> Told:
    """Describe a scene of two objects, one or none.

    Args:
        choice: Makes the choices.
        asked: What must be there, with what must be said of it; its first object, where that is left free.
        ground: The table; ``None`` leaves it free.
        partner: The object that must lie beside the asked one; empty for none;
            ``None`` leaves that free.
        first: Whether the asked one stands first, not in either place.
        objects: The objects that may appear.
    """
    ground = ground or choice.choose(GROUNDS)
    if asked is None and choice.chance(_EMPTY):
        text = f"the {ground} table is empty ."
        return Told(text, (), ground, "", text)
    one = _fill(choice, asked or Thing(choice.choose(objects)))
    if partner == "" or (partner is None and not choice.chance(_PAIR)):
        return _tell(choice, (one,), ground, "")
    two = _fill(choice, Thing(partner or choice.choose([name for name in objects if name != one.name])))
    turned = asked is not None and not first and choice.chance(0.5)
    things = (two, one) if turned else (one, two)
    return _tell(choice, things, ground, choice.choose(tuple(RELATIONS)))


def _fill(choice: Chooser, thing: Thing) -> Thing:
    """Choose what is said of an object, as far as it is not settled."""
    size = choice.choose(("", "small", "big"), (0.6, 0.2, 0.2))
    colour = thing.colour or (choice.choose(COLOURS_OF[thing.name]) if choice.chance(0.5) else "")
    first = choice.chance(0.8) if colour else True
    condition = thing.condition or (choice.choose(CONDITIONS_OF[thing.name]) if choice.chance(0.35) else "")
    return Thing(thing.name, size, colour, condition, first)


def _tell(choice: Chooser, things: tuple[Thing, ...], ground: str, relation: str) -> Told:
    there = f" {relation} ".join(thing.phrase for thing in things)
    table = f"on the {ground} table"
    opening = choice.choose(
        (
            f"{table} there {things[0].verb} {there} .",
            f"there {things[0].verb} {there} {table} .",
            f"{table} we see {there} .",
        ),
        (0.5, 0.3, 0.2),
    )
    details = []
    for thing in things:
        said = [*([thing.colour] if thing.colour and not thing.colour_first else []), thing.condition]
        details += [f"the {thing.name} {thing.verb} {word} ." for word in said if word]
    return Told(" ".join([opening, *details]), things, ground, relation, opening)
