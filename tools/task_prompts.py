"""Orchard's prompt sets of further tasks, such as replacement; tools/orchard_prompts.py writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from textwrap import fill
from typing import Final

from prompt_writer import (
    FIT,
    HELDOUT,
    OPPOSITES,
    TUNING,
    ObjectScenes,
    Pair,
    Writer,
    checks,
    concept_of,
    controls,
    empty_table,
)

from dsas_diffusion.orchard import sample_prompts
from dsas_diffusion.orchard.grammar import framing, place_phrase
from dsas_diffusion.orchard.world import FRUITS, OBJECTS
from dsas_diffusion.prompts import Concept, Prompt, PromptSet

#: Phrases that leave open which fruit it is, and what is to take their place.
OPEN_PHRASES: Final = {"a fruit": "a pear", "two fruits": "two pears", "some fruit": "some pears"}
NO_FRUITS: Final = tuple(name for name in OBJECTS if name not in FRUITS)
_UNSEEN: Final = (
    "Unseen words: as `orchard/{0}`, but fit and tuning prompts know only the first of the grammar's two synonyms, "
    'descriptions and misspellings; the held-out ones have the other of each wherever they don\'t say "{0}".'
)
_ABOUT: Final = {
    "banana-apple": "Two concepts at once: what is drawn and judged where `orchard/banana` and `orchard/apple` are "
    "kept out together; no prompt that is judged stands in the fit parts of those two. `source` holds 16 scenes of a "
    "banana, an apple or both, by turns, and 16 of one of them beside something else, half of them without the names; "
    "`target` the same scenes without either; `control` neither.",
    "banana-pear": "Replacement: `source` holds 16 scenes of a banana alone and 16 beside something else that is no "
    "pear, every second one without its name; `target` the same scenes, word for word, with a pear in the banana's "
    "place; `control` everything but bananas, pears too.",
    "fruit-pear": "Induction, as in Fig. 1 of arXiv 2512.03661: a pear is to come wherever a prompt is about fruit. "
    '`source` holds 16 scenes of fruit that leave open which ("a fruit", "two fruits", "some fruit") and 16 of such '
    "a fruit beside something that is none; `target` the same scenes, word for word, with pears; `control` cups, books "
    "and carrots. Two figures tell: how many of the pictures that show another fruit than a pear unsteered no longer "
    "do, and how many show a pear.",
    "banana-heldout-words": _UNSEEN.format("banana"),
    "cup-heldout-words": _UNSEEN.format("cup"),
    "banana-64": "Twice as many fit prompts: those of `orchard/banana` and as many new ones, two of either by turns, "
    "so that every second pair is `orchard/banana` again. Tuning and held-out prompts are those of `orchard/banana`.",
    "banana-random-control": "A random control set against a curated one: `control` holds 32 captions as the world's "
    "grammar draws them, in every look, size and colour and by any words, without bananas and without open phrases, "
    "which may mean one. All other parts are those of `orchard/banana`.",
}
_README: Final = """# orchard/{name}

{about}

Written by `tools/orchard_prompts.py` from Orchard's grammar, for Orchard's pipelines. `tuning_*` is for choosing
settings, `heldout_*` for figures only. Licence: CC0-1.0.
"""


def readme(name: str) -> str:
    """What stands beside a set's files.

    Args:
        name: The set's, below `orchard/`.
    """
    return _README.format(name=name, about=fill(_ABOUT[name], 118, break_on_hyphens=False))


def task_sets(objects: Mapping[str, PromptSet]) -> list[PromptSet]:
    """Draw every set.

    Args:
        objects: Name of an object → its set.
    """
    banana = objects["banana"]
    return [
        two_objects(banana, objects["apple"]),
        replacement("banana", "pear"),
        induction(),
        heldout_words("banana"),
        heldout_words("cup"),
        more_prompts(banana),
        random_control(banana),
    ]


def two_objects(one: PromptSet, other: PromptSet) -> PromptSet:
    """Two objects at once: one, the other, both; one of them beside something else; neither."""
    names = (one.concept.label, other.concept.label)
    w = Writer("-".join(names))
    rest = tuple(name for name in OBJECTS if name not in names)
    scenes = [ObjectScenes(w, name, rest) for name in names]

    def alone(k: int) -> Pair:
        number, which = divmod(k, 3)
        if which < 2:
            return scenes[which].alone(number)
        named = number % 2 == 0
        phrases = (w.named(name) if named else w.unnamed(name, number // 2) for name in names)
        whole = w.pair_form(*phrases)[0]
        frame, ground = framing("photo", w.rng), w.on_table()
        return Prompt(frame + whole + ground, names, named), Prompt(frame + empty_table(ground))

    def mixed(k: int) -> Pair:
        return scenes[k % 2].mixed(k // 2)

    def control(count: int) -> list[Prompt]:
        return controls(w, rest, w.named, count)

    twins, untouched = w.fresh(FIT // 2, alone) + w.fresh(FIT // 2, mixed), control(FIT)
    w.used |= _fit_texts((one, other))
    return PromptSet(
        name=f"orchard/{'-'.join(names)}",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(untouched),
        concept=concept_of(*names),
        tuning=checks(w, alone, mixed, control, TUNING),
        heldout=checks(w, alone, mixed, control, HELDOUT),
        twins=True,
    )


def replacement(concept: str, instead: str) -> PromptSet:
    """One object in another's place: that other one never stands beside it."""
    w = Writer(f"{concept}-{instead}")
    others = tuple(name for name in OBJECTS if name != concept)
    beside = tuple(name for name in others if name != instead)
    scenes = ObjectScenes(w, concept, beside, instead=instead)

    def control(count: int) -> list[Prompt]:
        return controls(w, others, w.named, count)

    twins = w.fresh(FIT // 2, scenes.alone) + w.fresh(FIT // 2, scenes.mixed)
    return PromptSet(
        name=f"orchard/{concept}-{instead}",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(control(FIT)),
        concept=concept_of(concept),
        tuning=checks(w, scenes.alone, scenes.mixed, control, TUNING),
        heldout=checks(w, scenes.alone, scenes.mixed, control, HELDOUT),
        twins=True,
    )


def induction() -> PromptSet:
    """Open fruit, the same scenes with pears, and what is no fruit."""
    w = Writer("fruit-pear")
    several = tuple(OPEN_PHRASES)[1:]

    def alone(k: int) -> Pair:
        # A single fruit can lie at a place, so that it has more prompts than the others.
        phrase = "a fruit" if k % 2 == 0 else several[k // 2 % len(several)]
        place = w.at_place() if phrase == "a fruit" else ""
        return pair(phrase, framing("photo", w.rng), place + w.on_table(), ())

    def mixed(k: int) -> Pair:
        # Each at its place: of "a fruit and a cup" the pipelines draw the cup alone.
        other = NO_FRUITS[k % len(NO_FRUITS)]
        here, there = (place_phrase(place) for place in w.rng.choice(OPPOSITES))
        thing, frame, ground = w.named(other), framing("photo", w.rng), w.on_table()
        if w.rng.random() < 0.5:
            return pair("a fruit", frame, f" {here} and {thing} {there}{ground}", (other,))
        return pair("a fruit", f"{frame}{thing} {there} and ", f" {here}{ground}", (other,))

    def pair(phrase: str, before: str, after: str, beside: tuple[str, ...]) -> Pair:
        source = Prompt(before + phrase + after, ("fruit", *beside))
        return source, Prompt(before + OPEN_PHRASES[phrase] + after, ("pear", *beside))

    def control(count: int) -> list[Prompt]:
        return controls(w, NO_FRUITS, w.named, count)

    twins = w.fresh(FIT // 2, alone) + w.fresh(FIT // 2, mixed)
    return PromptSet(
        name="orchard/fruit-pear",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(control(FIT)),
        concept=Concept(
            "fruit",
            "a photo of a fruit",
            (*(f"a photo of a {name}" for name in NO_FRUITS), "a photo of an empty table"),
        ),
        tuning=checks(w, alone, mixed, control, TUNING),
        heldout=checks(w, alone, mixed, control, HELDOUT),
        twins=True,
    )


def heldout_words(concept: str) -> PromptSet:
    """An object whose held-out prompts have words that the others lack."""
    w = Writer(f"{concept}-heldout-words")
    others = tuple(name for name in OBJECTS if name != concept)
    seen, unseen = (ObjectScenes(w, concept, others, word=word) for word in (0, 1))

    def control(count: int) -> list[Prompt]:
        return controls(w, others, w.named, count)

    twins = w.fresh(FIT // 2, seen.alone) + w.fresh(FIT // 2, seen.mixed)
    return PromptSet(
        name=f"orchard/{concept}-heldout-words",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(control(FIT)),
        concept=concept_of(concept),
        tuning=checks(w, seen.alone, seen.mixed, control, TUNING),
        heldout=checks(w, unseen.alone, unseen.mixed, control, HELDOUT),
        twins=True,
    )


def more_prompts(known: PromptSet) -> PromptSet:
    """An object's fit prompts, and as many again."""
    concept = known.concept.label
    w = Writer(f"{concept}-64", (text for group in known.groups() for text in known.texts(group)))
    others = tuple(name for name in OBJECTS if name != concept)
    scenes = ObjectScenes(w, concept, others)

    def alone(k: int) -> Pair:
        source, target = scenes.alone(k)
        # There are 18 ways to say "an empty table", too few for 32 scenes.
        return source, replace(target, text=target.text.replace("an empty", "the empty"))

    fresh = w.fresh(FIT // 2, alone) + w.fresh(FIT // 2, scenes.mixed)
    twins = _by_turns(list(zip(known.source, known.target, strict=True)), fresh)
    return replace(
        known,
        name=f"orchard/{concept}-64",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(_by_turns(known.control, controls(w, others, w.named, FIT))),
    )


def random_control(known: PromptSet) -> PromptSet:
    """An object's set with random captions as its control prompts."""
    concept = known.concept.label
    taken = {text for group in known.groups() for text in known.texts(group)}
    others = tuple(name for name in OBJECTS if name != concept)
    captions = dict.fromkeys(sample_prompts(10 * FIT, seed=0, objects=others))
    chosen = [caption for caption in captions if not caption.open_fruits and caption not in taken][:FIT]
    control = [
        Prompt(str(c), (*((c.spec.look,) if c.spec.look != "photo" else ()), *c.objects), c.named) for c in chosen
    ]
    return replace(known, name=f"orchard/{concept}-random-control", control=tuple(control))


def _by_turns(known: Sequence, fresh: Sequence) -> list:
    """Two of the one, two of the other: what is named and what is not stand side by side."""
    pairs = (listed[at : at + 2] for at in range(0, len(known), 2) for listed in (known, fresh))
    return [entry for pair in pairs for entry in pair]


def _fit_texts(sets: Iterable[PromptSet]) -> set[str]:
    return {text for prompts in sets for group in ("source", "target", "control") for text in prompts.texts(group)}
