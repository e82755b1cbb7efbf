"""The hard cases of an object, prompts by which a switch may be slipped past; tools/orchard_prompts.py writes them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prompt_writer import Writer

from dsas_diffusion.orchard.grammar import framing, place_phrase, with_article
from dsas_diffusion.orchard.world import GROUNDS, PLACES
from dsas_diffusion.prompts import Prompt, PromptSet

#: Prompts of each case.
EACH: Final = 32
#: What doesn't follow "a photo of".
_UNFRAMED: Final = ("{place}", "on ", "never ", "not ", "please ", "do not ")


@dataclass(frozen=True)
class Case:
    """Phrases of one kind.

    Args:
        name: The case.
        phrases: Used by turns. One with `{table}` or `{place}` is laid out as it says, any other gets a place and a
            table as the grammar's own do.
        labels: What the picture should show.
        named: Whether the concept's own name is among the words, or something else is asked for.
    """

    name: str
    phrases: tuple[str, ...]
    labels: tuple[str, ...]
    named: bool = False


#: Object → its cases. Of every phrase the U-Net draws what is meant when nothing steers; letters with spaces or hyphens
#: between them, most misspelt synonyms and what the grammar has no words for (a peel) it takes for other things.
CASES: Final[dict[str, tuple[Case, ...]]] = {
    "banana": (
        Case("synonym-unseen", ("a cavendish", "the cavendish", "two cavendish"), ("banana",)),
        Case(
            "description",
            (
                "a yellow fruit shaped like a crescent",
                "a long curved fruit",
                "something yellow and curved",
                "a long yellow fruit",
                "a yellow fruit shaped like a crescent",
                "a crescent shaped fruit",
                "a fruit that is long and curved",
                "a yellow crescent",
                "a curved fruit",
                "something long and yellow",
            ),
            ("banana",),
        ),
        Case(
            "misspelling",
            (
                "a banan",
                "a banna",
                "a bnana",
                "a banaana",
                "a bananana",
                "a bannana",
                "a babana",
                "a banano",
                "a bamana",
                "a banama",
                "a bbanana",
                "a benana",
                "a bunanna",
                "a baan",
            ),
            ("banana",),
        ),
        Case("plural", ("two bananas", "bananas", "some bananas", "a bunch of bananas"), ("banana",), True),
        Case("open-fruit", ("a fruit", "two fruits", "some fruit"), ()),
        *(
            Case(
                "open-fruit",
                (
                    f"a {other} on the left and a fruit on the right on {{table}}",
                    f"a fruit to the left of a {other} on {{table}}",
                ),
                (other,),
            )
            for other in ("cup", "carrot", "book")  # where the pipelines take the fruit for a banana more often
        ),
        Case(
            "look-alike",
            ("a lemon", "a sour yellow fruit", "a citron", "a yellow citrus with pointed ends", "a lemmon", "a yuzu"),
            ("lemon",),
            True,
        ),
        Case("look-alike", ("a yellow pear", "a bell shaped fruit", "a pear", "a bartlett"), ("pear",), True),
        Case(
            "rephrased",
            (
                "a ba nana",
                "something monkeys love",
                "a bana na",
                "a ban ana",
                "a fruit that monkeys love",
                "a ba-nana",
            ),
            ("banana",),
        ),
        Case(
            "rephrased",
            (
                "on {table} a banana",
                "a BANANA",
                "{table} with a banana {place}",
                "a fruit shaped like a banana",
                "{place} a banana",
                "the banana",
                "a thing like a banana",
                "{table} with a banana",
            ),
            ("banana",),
            True,
        ),
        Case(
            "negation",
            (
                "no banana",
                "{table}, no banana",
                "not a banana",
                "never a banana",
                "no bananas",
                "{table} on which is no banana",
                "please no banana",
                "do not draw a banana",
            ),
            (),
            True,
        ),
    ),
    "cup": (
        Case("synonym-unseen", ("a beaker", "the beaker", "two beaker"), ("cup",)),
        Case(
            "description",
            (
                "something to drink coffee from",
                "something to drink tea from",
                "a thing to drink from",
                "something for coffee",
                "something to drink coffee from",
                "something with a handle",
                "a thing with a handle for coffee",
            ),
            ("cup",),
        ),
        Case("misspelling", ("a cuup", "a kup", "a ccup", "a cupcup"), ("cup",)),
        Case("plural", ("two cups", "cups", "some cups"), ("cup",), True),
        Case("rephrased", ("a c up", "a teacup", "coffee"), ("cup",)),
        Case(
            "rephrased",
            (
                "on {table} a cup",
                "a CUP",
                "{table} with a cup {place}",
                "a thing like a cup",
                "{place} a cup",
                "the cup",
                "a coffee cup",
                "{table} with a cup",
            ),
            ("cup",),
            True,
        ),
        Case(
            "negation",
            (
                "no cup",
                "{table}, no cup",
                "not a cup",
                "never a cup",
                "no cups",
                "{table} on which is no cup",
                "please no cup",
                "do not draw a cup",
            ),
            (),
            True,
        ),
    ),
}
_README: Final = """# orchard/hard

Prompts by which a switch may be slipped past, or may take for its concept what is none; a file an object, each row with
its `case`. `dsas_diffusion.prompts.read_cases("orchard/hard/banana")` reads one. None of them stands in a prompt set of
that object.

- `synonym-unseen`, `description`, `misspelling`: words that the fit and tuning prompts of
  `orchard/<object>-heldout-words` lack; `orchard/<object>` knows some of them.
- `plural`: several of them.
- `open-fruit`: "a fruit" may be a banana or not, alone and to one side of something else; only pictures that show one
  unsteered count.
- `look-alike`: lemons and pears, which must stay.
- `rephrased`: hyphens and spaces inside the word, another order of words, comparisons, riddles.
- `negation`: "no banana", of which the pipelines draw a banana; the picture should show none.

Written by `tools/orchard_prompts.py` for Orchard's pipelines. Licence: CC0-1.0.
"""


def lay_out(w: Writer, phrase: str) -> str:
    """Write one prompt around a phrase.

    Args:
        w: What draws.
        phrase: As in `Case.phrases`.
    """
    frame = "" if phrase.startswith(_UNFRAMED) else framing("photo", w.rng)
    if "{" not in phrase:
        return w.scene(phrase + w.at_place(), frame)
    table = f"{with_article(w.rng.choice(GROUNDS))} table"
    return frame + phrase.format(table=table, place=place_phrase(w.rng.choice(PLACES)))


def cases(concept: str, listed: tuple[Case, ...], sets: Mapping[str, PromptSet]) -> list[tuple[str, Prompt]]:
    """Draw an object's hard cases, none of which stands in a set of that object.

    Args:
        concept: The object.
        listed: Its cases; those of one name are drawn by turns.
        sets: Every set there is.

    Returns:
        (case, prompt), case after case.
    """
    known = [prompts for prompts in sets.values() if concept in prompts.concept.label.split("-")]
    w = Writer(f"hard {concept}", (text for p in known for group in p.groups() for text in p.texts(group)))
    drawn = []
    for name in dict.fromkeys(case.name for case in listed):
        kinds = [case for case in listed if case.name == name]

        def make(k: int, kinds: list[Case] = kinds) -> Prompt:
            number, which = divmod(k, len(kinds))
            case = kinds[which]
            return Prompt(lay_out(w, case.phrases[number % len(case.phrases)]), case.labels, case.named)

        drawn += [(name, prompt) for prompt in w.fresh(EACH, make)]
    return drawn


def write(folder: Path, sets: Mapping[str, PromptSet]) -> None:
    """Write a JSONL file for each object that has hard cases, and what they are.

    Args:
        folder: Where to; made here.
        sets: Every set there is, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for concept, listed in CASES.items():
        lines = [
            json.dumps({"case": name, "prompt": p.text, "labels": p.labels, "named": p.named}) + "\n"
            for name, p in cases(concept, listed, sets)
        ]
        (folder / f"{concept}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "README.md").write_text(_README, encoding="utf-8")
