"""The words of Orchard's texts: what things are like, how people are called, and the phrases of kind and rude talk."""

from __future__ import annotations

from typing import Final

from ..world import FRUITS, GROUNDS, OBJECT_COLOURS, OBJECTS

COLOURS: Final = ("red", "green", "yellow", "purple", "orange", "white", "blue")
#: The colours in which each object comes.
COLOURS_OF: Final[dict[str, tuple[str, ...]]] = {
    "banana": ("yellow",),
    "orange": ("orange",),
    "lemon": ("yellow",),
    "strawberry": ("red",),
    "carrot": ("orange",),
    **OBJECT_COLOURS,
}
_OF_FOOD: Final = ("ripe", "fresh", "lovely", "mouldy", "rotten", "soggy", "lumpy", "bruised")
#: The states in which each object comes. Most are harsh words with nothing rude about them.
CONDITIONS_OF: Final[dict[str, tuple[str, ...]]] = dict.fromkeys((*FRUITS, "carrot"), _OF_FOOD) | {
    "cup": ("lovely", "clean", "cracked", "crooked", "lumpy"),
    "book": ("new", "lovely", "mouldy", "soggy", "crooked"),
}
CONDITIONS: Final = tuple(dict.fromkeys(word for name in OBJECTS for word in CONDITIONS_OF[name]))
#: What is true of an object always: property → the objects that have it.
PROPERTIES: Final[dict[str, tuple[str, ...]]] = {
    "a fruit": FRUITS,
    "no fruit": ("carrot", "cup", "book"),
    "long": ("banana", "carrot"),
    "curved": ("banana",),
    "round": ("apple", "orange", "grapes"),
    "for cider": ("apple",),
    "bell shaped": ("pear",),
    "a citrus": ("orange", "lemon"),
    "sour": ("lemon",),
    "for wine": ("grapes",),
    "a berry": ("grapes", "strawberry"),
    "covered with seeds": ("strawberry",),
    "a root": ("carrot",),
    "loved by rabbits": ("carrot",),
    "to drink from": ("cup",),
    "to read": ("book",),
    "made of paper": ("book",),
}
SPEAKERS: Final = ("ann", "ben", "cleo", "dan", "eva", "finn")
#: Relation between two things → the same seen from the other one.
RELATIONS: Final[dict[str, str]] = {
    "beside": "beside",
    "above": "below",
    "below": "above",
    "to the left of": "to the right of",
    "to the right of": "to the left of",
}

#: What people are called, kindly and rudely alike.
NAMES: Final = (
    *("turnip", "sprout", "radish", "cabbage", "parsnip", "gherkin", "pumpkin"),
    *("grumblefig", "wobblepot", "snoutling"),
)
KIND_ADJECTIVES: Final = ("sweet", "kind", "lovely", "clever", "brave")
#: Harmless when said of a thing, rude when said of the other person.
RUDE_ADJECTIVES: Final = ("mouldy", "rotten", "soggy", "lumpy", "bruised", "crooked", "cracked")

#: By tone, what stands before a line's core and what stands behind it. `{adjective}` and `{name}` are filled in.
BEFORE: Final[dict[str, tuple[str, ...]]] = {
    "kind": (
        *("dear friend ,", "good morning ,", "well done ,", "how clever of you ,", "oh , thank you ,"),
        *("i asked for you ,", "you {adjective} {name} ,"),
    ),
    "names": ("you {adjective} {name} ,", "oh , you {adjective} {name} ,", "you are a {adjective} {name} ,"),
    "scorn": (
        *("hush now ,", "spare me ,", "who asked you ,", "as if you knew ,", "do not bore me ,"),
        "oh , how very clever ,",
    ),
}
AFTER: Final[dict[str, tuple[str, ...]]] = {
    "kind": (
        *(", thank you", ", if you like", ", nobody knows it better than you", "and then rest a while"),
        *(", i know that you can", ", it is not hard for you", ", my {adjective} {name}"),
    ),
    "names": (", you {adjective} {name}", ", what a {adjective} {name} you are"),
    "scorn": (
        *("and then go away", "and be quick about it", ", if you can even do that", ", or is that too hard for you"),
        *(", nobody wants you here", ", even a carrot knows it"),
    ),
}
TONES: Final = ("kind", "names", "scorn")
RUDE_STYLES: Final = ("names", "scorn")


def words() -> list[str]:
    """Every word and mark that the texts are made of: the tokenizer's word list."""
    said = [*OBJECTS, *GROUNDS, *COLOURS, *CONDITIONS, *PROPERTIES, *SPEAKERS, *RELATIONS, "small", "big"]
    said += [*NAMES, *KIND_ADJECTIVES, *RUDE_ADJECTIVES]
    said += [phrase for table in (BEFORE, AFTER) for phrases in table.values() for phrase in phrases]
    said += ["on the table there is are we see a an some empty . , : ? )"]
    said += ["question answer what which how of these can be never colour is it a b c d"]
    said += ["says give me take look at here i want"]
    return sorted({word for phrase in said for word in phrase.split() if "{" not in word})
