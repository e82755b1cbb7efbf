"""Orchard's grammar: every phrasing of a scene, with and without the names of what it shows."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Final

from ..errors import InputError
from .specs import ObjectSpec, SceneSpec, sample_spec
from .world import FRUITS, GROUNDS, OBJECT_COLOURS, OBJECTS, check_name

#: Other names of an object.
SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "banana": ("plantain", "cavendish"),
    "apple": ("pippin", "russet"),
    "pear": ("bartlett", "bosc"),
    "orange": ("tangerine", "clementine"),
    "lemon": ("citron", "yuzu"),
    "grapes": ("muscats", "sultanas"),
    "strawberry": ("fraise", "gariguette"),
    "carrot": ("nantes", "chantenay"),
    "cup": ("mug", "beaker"),
    "book": ("novel", "paperback"),
}
#: Descriptions that name no object; each begins with its article.
DESCRIPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "banana": ("a long curved yellow fruit", "a yellow fruit shaped like a crescent"),
    "apple": ("a crisp round fruit with a leaf", "a round fruit that makes cider"),
    "pear": ("a fruit with a narrow top and a wide bottom", "a bell shaped fruit"),
    "orange": ("a juicy round citrus", "a round citrus fruit with pores"),
    "lemon": ("a sour yellow fruit", "a yellow citrus with pointed ends"),
    "grapes": ("a cluster of little round fruits", "a bunch of little berries for wine"),
    "strawberry": ("a small red fruit with seeds", "a red berry with tiny seeds"),
    "carrot": ("a long pointed root with green leaves", "a crunchy root that rabbits love"),
    "cup": ("a thing with a handle for tea", "something to drink coffee from"),
    "book": ("something to read with a cover", "a thing with pages"),
}
MISSPELLINGS: Final[dict[str, tuple[str, ...]]] = {
    "banana": ("bananna", "banan"),
    "apple": ("aple", "appel"),
    "pear": ("paer", "pearr"),
    "orange": ("ornage", "orang"),
    "lemon": ("lemmon", "lemn"),
    "grapes": ("graps", "graeps"),
    "strawberry": ("strawbery", "strawbarry"),
    "carrot": ("carot", "carrrot"),
    "cup": ("cupp", "cuup"),
    "book": ("boook", "bok"),
}
PLURALS: Final[dict[str, str]] = {name: name + "s" for name in OBJECTS if name not in ("grapes", "strawberry")} | {
    "strawberry": "strawberries",
    "grapes": "bunches of grapes",
}
#: The three ways to ask for an object without its name, with how often each is chosen beside the name itself.
UNNAMED: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "synonym": SYNONYMS,
    "description": DESCRIPTIONS,
    "misspelling": MISSPELLINGS,
}
_WAYS: Final = {"name": 0.62, "synonym": 0.15, "description": 0.13, "misspelling": 0.10}
#: The words before a scene, which carry its look: those that name it, and those that don't.
FRAMINGS: Final[dict[str, tuple[str, ...]]] = {
    "photo": ("", "a photo of ", "a picture of "),
    "blurry": ("a blurry photo of ", "a blurry picture of "),
    "sketch": ("a sketch of ",),
}
UNNAMED_FRAMINGS: Final[dict[str, tuple[str, ...]]] = {
    "blurry": ("an unfocused photo of ", "an out of focus picture of "),
    "sketch": ("a drawing of ", "an outline of "),
}
#: Other words for one object being blurred, and for a colour.
UNNAMED_WORDS: Final[dict[str, tuple[str, ...]]] = {"blurry": ("unfocused",), "red": ("crimson", "scarlet")}
#: How often a look or a word is called by its own name, where there is another.
_NAMED_SHARE: Final = 0.65


class Caption(str):
    """A prompt that knows what it asks for.

    Attributes:
        objects: The names of the objects that its picture must show; empty for empty tables and open phrases.
        named: Whether every object is called by its own name.
        open_fruits: How many fruits of any kind it asks for (``a fruit``, ``two fruits``); 0 where the objects are
            settled.
        spec: The scene that it was written for.
    """

    objects: tuple[str, ...]
    named: bool
    open_fruits: int
    spec: SceneSpec

    def __new__(cls, text: str, spec: SceneSpec, named: bool = True, open_fruits: int = 0) -> Caption:
        caption = super().__new__(cls, text)
        caption.spec, caption.named, caption.open_fruits = spec, named, open_fruits
        caption.objects = () if open_fruits else spec.names
        return caption

    def __reduce__(self) -> tuple:
        return Caption, (str(self), self.spec, self.named, self.open_fruits)


def with_article(phrase: str) -> str:
    """Put ``a`` or ``an`` before a phrase."""
    return ("an " if phrase[0] in "aeio" else "a ") + phrase


def noun_phrase(
    thing: ObjectSpec,
    way: str,
    rng: random.Random,
    *,
    size: bool = False,
    colour: bool = False,
    choice: int | None = None,
    named: bool | None = None,
) -> str:
    """Speak of one object.

    Args:
        thing: The object.
        way: ``"name"``, ``"synonym"``, ``"description"`` or ``"misspelling"``.
        rng: Source of randomness.
        size: Say the size (a medium one has no word).
        colour: Say the colour, where the object comes in several.
        choice: Which of the synonyms, descriptions or misspellings; ``None`` draws one.
        named: Whether blur and colour are called by their own names; ``None`` draws it.

    Returns:
        The phrase with its article.
    """
    words, hue = [], ""
    if thing.blurred:
        words.append(spoken("blurry", rng, named))
    if way == "description":
        options = DESCRIPTIONS[thing.name]
        phrase = rng.choice(options) if choice is None else options[choice]
        article, _, rest = phrase.partition(" ")
        return phrase if not words or article == "something" else with_article(" ".join([*words, rest]))
    if size and thing.size != "medium":
        words.append(thing.size)
    if colour and thing.colour:
        words.append(spoken(thing.colour, rng, named))
        hue = words[-1]
    if way == "name":
        noun = thing.name
    else:
        options = UNNAMED[way][thing.name]
        noun = rng.choice(options) if choice is None else options[choice]
    if thing.name != "grapes":
        return with_article(" ".join([*words, noun]))
    if rng.random() < 0.5:
        return " ".join(["some", *words, noun])
    before = [word for word in words if word != hue]
    return with_article(" ".join([*before, "bunch of", *([hue] if hue else []), noun]))


def place_phrase(place: str) -> str:
    """Say a place: ``on the left``, ``at the top``, ``at the centre`` and so on."""
    return f"on the {place}" if place in ("left", "right") else f"at the {place}"


def ground_phrase(ground: str, rng: random.Random) -> str:
    """``on a blue table``, with or without a comma before it."""
    return rng.choice((" ", ", ")) + f"on {with_article(ground + ' table')}"


def spoken(word: str, rng: random.Random, named: bool | None = None) -> str:
    """A word, or another for the same thing where the grammar has one (``named=None`` draws which)."""
    named = rng.random() < _NAMED_SHARE if named is None else named
    return word if named or word not in UNNAMED_WORDS else rng.choice(UNNAMED_WORDS[word])


def framing(look: str, rng: random.Random, named: bool | None = None) -> str:
    """The words before the scene, which carry the look; with or without its name (``None`` draws which)."""
    named = rng.random() < _NAMED_SHARE if named is None else named
    return rng.choice((FRAMINGS if named or look not in UNNAMED_FRAMINGS else UNNAMED_FRAMINGS)[look])


def caption_of(spec: SceneSpec, rng: random.Random, ways: Sequence[str] | None = None) -> Caption:
    """Write one caption of a scene.

    Args:
        spec: The scene.
        rng: Source of randomness; the same state gives the same words.
        ways: How to speak of each object (see :func:`noun_phrase`); drawn where not given.

    Returns:
        The caption. Attributes are said now and then, the look always. Colours of a sketch are never said: it has none.
    """
    sketch = spec.look == "sketch"
    start = framing(spec.look, rng)
    if not spec.objects:
        ground = "table" if sketch or rng.random() < 0.15 else f"{spec.ground} table"
        return Caption(start + with_article(f"empty {ground}"), spec)
    end = "" if sketch or rng.random() < 0.4 else ground_phrase(spec.ground, rng)
    if ways is None:
        ways = [rng.choices(list(_WAYS), list(_WAYS.values()))[0] for _ in spec.objects]
        if _may_be_open(spec) and rng.random() < 0.05:
            return _open_caption(spec, start, end, rng)
    if len(spec.objects) == 2 and len(spec.names) == 1:
        noun = PLURALS[spec.names[0]]
        return Caption(
            start + rng.choice(("two ", "two ", "" if spec.names[0] != "grapes" else "two ")) + noun + end, spec
        )
    phrases = [
        noun_phrase(thing, way, rng, size=rng.random() < 0.6, colour=not sketch and rng.random() < 0.6)
        for thing, way in zip(spec.objects, ways, strict=True)
    ]
    named = all(way == "name" for way in ways)
    if len(phrases) == 1:
        place = spec.objects[0].place
        where = " " + place_phrase(place) if rng.random() < (0.15 if place == "centre" else 0.7) else ""
        return Caption(start + phrases[0] + where + end, spec, named)
    return Caption(start + _join(spec.objects, phrases, rng) + end, spec, named)


def _join(things: Sequence[ObjectSpec], phrases: Sequence[str], rng: random.Random) -> str:
    """Speak of a pair, in either order, mostly with its arrangement."""
    order = (0, 1) if rng.random() < 0.5 else (1, 0)
    (one, two), (first, second) = (things[i] for i in order), (phrases[i] for i in order)
    beside = one.place in ("left", "right")
    relation = {"left": "to the left of", "right": "to the right of", "top": "above", "bottom": "below"}[one.place]
    forms = [
        f"{first} and {second}",
        f"{first} {relation} {second}",
        f"{first} {place_phrase(one.place)} and {second} {place_phrase(two.place)}",
    ]
    if beside:
        forms.append(f"{first} beside {second}")
    return rng.choice(forms)


def _may_be_open(spec: SceneSpec) -> bool:
    return bool(spec.objects) and set(spec.names) <= set(FRUITS) and not any(o.blurred for o in spec.objects)


def _open_caption(spec: SceneSpec, start: str, end: str, rng: random.Random) -> Caption:
    if len(spec.objects) == 2:
        return Caption(start + rng.choice(("two fruits", "some fruit")) + end, spec, False, open_fruits=2)
    return Caption(start + "a fruit" + end, spec, False, open_fruits=1)


def sample_prompts(n: int, seed: int, objects: Iterable[str] | None = None) -> list[Caption]:
    """Draw captions of Orchard's mix, without drawing their pictures.

    Args:
        n: How many.
        seed: The same seed gives the same prompts.
        objects: The objects that may appear; ``None`` for all ten.

    Returns:
        Strings that also carry what they ask for (:class:`Caption`).

    Raises:
        InputError: If an object is unknown, or none is given.
    """
    allowed = OBJECTS if objects is None else tuple(objects)
    if not allowed:
        raise InputError(f"sample_prompts got an empty list of objects. Give at least one of: {', '.join(OBJECTS)}.")
    for name in allowed:
        check_name("object", name, OBJECTS)
    rng = random.Random(f"prompts {seed}")
    return [caption_of(sample_spec(rng, allowed), rng) for _ in range(n)]


def words() -> list[str]:
    """Every word that the grammar can say, misspellings left out: the tokenizer's word list."""
    said = [*OBJECTS, *FRUITS, *GROUNDS, *PLURALS.values(), "fruit", "fruits", "some", "two", "a", "an", "bunch", "of"]
    said += [colour for colours in OBJECT_COLOURS.values() for colour in colours]
    said += [phrase for table in (SYNONYMS, DESCRIPTIONS) for phrases in table.values() for phrase in phrases]
    said += [
        phrase
        for table in (FRAMINGS, UNNAMED_FRAMINGS, UNNAMED_WORDS)
        for phrases in table.values()
        for phrase in phrases
    ]
    said += ["small", "big", "blurry", "empty", "table", "on", "at", "the", "left", "right", "top", "bottom", "centre"]
    said += ["and", "beside", "above", "below", "to the left of", "to the right of", ","]
    return sorted({word for phrase in said for word in phrase.split()})
