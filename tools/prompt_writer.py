"""Draws prompts of Orchard's grammar that no group of a set has yet: what the tools that write prompt sets share."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard.grammar import UNNAMED, framing, noun_phrase, place_phrase, with_article
from dsas_diffusion.orchard.specs import ObjectSpec, sample_object
from dsas_diffusion.orchard.world import GROUNDS, OBJECTS, PLACES
from dsas_diffusion.prompts import Concept, Prompt

#: Fit sets hold 16 alone and 16 mixed; what settings are chosen on, and what figures are reported on, stands apart.
FIT, TUNING, HELDOUT = 32, 32, 64
#: Where two objects lie.
OPPOSITES = (("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top"))

Pair = tuple[Prompt, Prompt]


class Writer:
    """Draws prompts that no group of the set has yet.

    Args:
        name: The set's; the same name gives the same prompts.
        taken: Texts that it may not draw either.
    """

    def __init__(self, name: str, taken: Iterable[str] = ()) -> None:
        self.rng = random.Random(f"prompt set {name}")
        self.used = set(taken)

    def fresh(self, count: int, make: Callable[[int], Pair | Prompt]) -> list:
        """Call `make` until `count` new prompts have come; of a pair, both must be new."""
        made: list = []
        for _ in range(1000 * count):
            if len(made) == count:
                return made
            result = make(len(made))
            texts = {prompt.text for prompt in ((result,) if isinstance(result, Prompt) else result)}
            if not texts & self.used:
                self.used |= texts
                made.append(result)
        raise InputError(f"The grammar has fewer than {count} different prompts of this kind.")

    def scene(self, phrase: str, frame: str | None = None, ground: str | None = None) -> str:
        """Frame a phrase and lay it on a table."""
        frame = framing("photo", self.rng) if frame is None else frame
        return frame + phrase + (self.on_table() if ground is None else ground)

    def on_table(self, least: float = 0.75) -> str:
        """` on a blue table`, most of the time."""
        return (
            self.rng.choice((" ", ", ")) + f"on {with_article(self.rng.choice(GROUNDS))} table"
            if self.rng.random() < least
            else ""
        )

    def at_place(self, share: float = 0.5) -> str:
        """` on the left`, or another place, so often."""
        return f" {place_phrase(self.rng.choice(PLACES))}" if self.rng.random() < share else ""

    def thing(self, name: str) -> ObjectSpec:
        """An object of medium size: sizes are left to the captions of the world."""
        return replace(sample_object(self.rng, name), size="medium")

    def named(self, name: str) -> str:
        """An object by its own name, now and then with its colour."""
        return noun_phrase(self.thing(name), "name", self.rng, colour=self.rng.random() < 0.3, named=True)

    def unnamed(self, name: str, k: int, word: int | None = None) -> str:
        """An object without its name: synonyms, descriptions and misspellings in turn.

        Args:
            name: The object.
            k: Which turn it is.
            word: Which of the two words of each way; by turns where it is not given.
        """
        way = list(UNNAMED)[k % 3]
        return noun_phrase(self.thing(name), way, self.rng, choice=(k // 3) % 2 if word is None else word)

    def pair_form(self, first: str, second: str) -> tuple[str, str, str]:
        """Two phrases as a pair; and what is left of it without the first, or without the second."""
        a, b = self.rng.choice(OPPOSITES)
        beside = {"left": "to the left of", "right": "to the right of", "top": "above", "bottom": "below"}[a]
        placed = f"{first} {place_phrase(a)} and {second} {place_phrase(b)}"
        forms = (
            (placed, f"{second} {place_phrase(b)}", f"{first} {place_phrase(a)}"),
            (f"{first} and {second}", second, first),
            (f"{first} {beside} {second}", f"{second} {place_phrase(b)}", f"{first} {place_phrase(a)}"),
        )
        return self.rng.choice(forms)


@dataclass(frozen=True)
class ObjectScenes:
    """Scenes of one object, alone and beside another, each with its twin; every second one without the object's name.

    Args:
        w: What draws.
        concept: The object.
        others: What may stand beside it.
        word: As for `Writer.unnamed`.
        instead: What takes its place in the twins; by default nothing does.
    """

    w: Writer
    concept: str
    others: Sequence[str]
    word: int | None = None
    instead: str | None = None

    def alone(self, k: int) -> Pair:
        """Draw the k-th scene of the object alone, and the empty table or what takes its place."""
        phrase = self._phrase(k)
        place = self.w.at_place()
        frame, ground = framing("photo", self.w.rng), self.w.on_table()
        shown = Prompt(frame + phrase + place + ground, (self.concept,), k % 2 == 0)
        if self.instead is None:
            return shown, Prompt(frame + empty_table(ground), (), True)
        return shown, Prompt(frame + w_named(self.instead) + place + ground, (self.instead,), True)

    def mixed(self, k: int) -> Pair:
        """Draw the k-th scene of the object beside another, and what is left or takes its place."""
        other = self.others[self.w.rng.randrange(len(self.others))]
        phrase = self._phrase(k)
        phrases = (phrase, self.w.named(other))
        swap = self.w.rng.random() < 0.5
        whole, without_first, without_second = self.w.pair_form(*(reversed(phrases) if swap else phrases))
        frame, ground = framing("photo", self.w.rng), self.w.on_table()
        shown = Prompt(frame + whole + ground, (self.concept, other), k % 2 == 0)
        if self.instead is None:
            return shown, Prompt(frame + (without_second if swap else without_first) + ground, (other,), True)
        replaced = whole.replace(phrase, w_named(self.instead))
        return shown, Prompt(frame + replaced + ground, (self.instead, other), True)

    def _phrase(self, k: int) -> str:
        return self.w.named(self.concept) if k % 2 == 0 else self.w.unnamed(self.concept, k // 2, self.word)


def empty_table(ground: str) -> str:
    """What is left of a scene of one object without it.

    Args:
        ground: The scene's, such as `, on a blue table`, or nothing.
    """
    table = ground.split(" on ", 1)[-1] if ground else "a table"
    return with_article("empty " + table.split(" ", 1)[1])


def w_named(name: str) -> str:
    """An object's name with its article."""
    return "some grapes" if name == "grapes" else with_article(name)


def concept_of(*names: str) -> Concept:
    """What a set is about that keeps some objects out, told from all the others and from an empty table.

    Args:
        *names: The objects.
    """
    return Concept(
        "-".join(names),
        f"a photo of {' or '.join(map(w_named, names))}",
        (*(f"a photo of {w_named(name)}" for name in OBJECTS if name not in names), "a photo of an empty table"),
    )


def controls(w: Writer, names: tuple[str, ...], say: Callable[[str], str], count: int) -> list[Prompt]:
    """Half single scenes, half pairs, of the given objects only."""

    def make(k: int) -> Prompt:
        if k < count // 2:
            name = names[k % len(names)]
            place = w.at_place()
            return Prompt(w.scene(say(name) + place), (name,))
        one, two = w.rng.sample(names, 2)
        return Prompt(w.scene(w.pair_form(say(one), say(two))[0]), (one, two))

    return w.fresh(count, make)


def checks(w: Writer, alone: Callable, mixed: Callable, control: Callable, count: int) -> dict[str, tuple[Prompt, ...]]:
    """The three groups that results are judged on."""
    return {
        "source": tuple(w.fresh(count, lambda k: alone(k)[0])),
        "control": tuple(control(count)),
        "mixed": tuple(w.fresh(count, lambda k: mixed(k)[0])),
    }
