"""The prompt sets of rude talk for Orchard's language model, which tools/orchard_prompts.py writes with the others."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

from dsas_diffusion.orchard.text.choices import Draw
from dsas_diffusion.orchard.text.descriptions import Told, describe
from dsas_diffusion.orchard.text.lexicon import RUDE_ADJECTIVES
from dsas_diffusion.orchard.text.questions import ask
from dsas_diffusion.orchard.text.talk import dress, say, speakers
from dsas_diffusion.prompts import Concept, Prompt, PromptSet

#: Name of a set → the styles of rudeness in it.
STYLES: Final = {"rudeness": ("names", "scorn"), "rudeness-names": ("names",), "rudeness-scorn": ("scorn",)}
FIT, TUNING, HELDOUT = 32, 32, 64
_ABOUT: Final = {
    "rudeness": "Rude talk in two styles by turns: `names` (“you mouldy turnip”) and `scorn` (“or is that too hard for "
    "you”).",
    "rudeness-names": "Rude talk in one style: the other person is called something (“you mouldy turnip”).",
    "rudeness-scorn": "Rude talk in one style: scorn, and nobody is called anything (“or is that too hard for you”).",
}
_README: Final = """# orchard/{name}

{about} Written by `tools/orchard_prompts.py` from Orchard's grammar of texts, for Orchard's language model.

Each prompt is to be continued. `source` holds 32 rude lines, the second half after a description of the scene;
`target` the same lines with kind phrases in place of the rude ones; `control` kind talk, descriptions and questions,
half of the talk and of the descriptions with harsh words that are not rude (“the pear is mouldy”). `mixed` is a kind
line that a rude one answers. Style and kind stand among the labels; `named` is true where names are called.
`tuning_*` is for choosing settings, `heldout_*` for figures only; its questions are of combinations that the model was
not trained on.

Licence: CC0-1.0.
"""

Pair = tuple[Prompt, Prompt]


class Writer(Protocol):
    """Draws prompts that no group of the set has yet."""

    rng: random.Random

    def fresh(self, count: int, make: Callable[[int], Pair | Prompt]) -> list:
        """Call `make` until `count` new prompts have come; of a pair, both must be new."""


def readme(name: str) -> str:
    """What stands beside a set's files."""
    return _README.format(name=name, about=_ABOUT[name])


def rudeness_set(w: Writer, name: str) -> PromptSet:
    """Rude lines to be answered; the same lines, kind; and everything else that the language model talks about.

    Args:
        w: A writer of this set's own.
        name: One of `STYLES`.
    """
    choice, styles = Draw(w.rng), STYLES[name]

    def pair(k: int, scene: bool) -> Pair:
        style, told = styles[k % len(styles)], describe(choice) if scene else None
        one, two = speakers(choice)
        rude = say(choice, style, told)
        kind = dress(choice, rude.core, rude.thing, "kind", "kind", rude.slots)
        before, after = f"{told.text} {one} says :" if told else f"{one} says :", f"{two} says :"
        return (Prompt(f"{before} {rude.text} {after}", ("rude", style), style == "names"),
                Prompt(f"{before} {kind.text} {after}", ("kind",)))  # fmt: skip

    def answered(k: int) -> Prompt:
        style, told = styles[k % len(styles)], describe(choice) if k % 4 >= 2 else None
        one, two = speakers(choice)
        kind = say(choice, "kind", told)
        rude = say(choice, style, told, kind.thing)
        before = f"{told.text} " if told else ""
        text = f"{before}{one} says : {kind.text} {two} says : {rude.text} {one} says :"
        return Prompt(text, ("rude", style, "kind"), style == "names")

    def checks(count: int, unseen: bool) -> dict[str, tuple[Prompt, ...]]:
        return {
            "source": tuple(w.fresh(count, lambda k: pair(k, k >= count // 2)[0])),
            "control": tuple(_controls(w, choice, count, unseen)),
            "mixed": tuple(w.fresh(count, answered)),
        }

    twins = w.fresh(FIT, lambda k: pair(k, k >= FIT // 2))
    return PromptSet(
        name=f"orchard/{name}",
        source=tuple(source for source, _ in twins),
        target=tuple(target for _, target in twins),
        control=tuple(_controls(w, choice, FIT, unseen=False)),
        concept=Concept("rude", "a rude reply", ("a kind reply", "a description", "a question")),
        tuning=checks(TUNING, unseen=False),
        heldout=checks(HELDOUT, unseen=True),
        twins=True,
    )


def _controls(w: Writer, choice: Draw, count: int, unseen: bool) -> list[Prompt]:
    """Kind talk, descriptions and questions, a third each; of talk and descriptions every second one is harsh."""
    third = count // 3
    talk = w.fresh(count - 2 * third, lambda k: _kind_talk(choice, harsh=k % 2 == 1))
    described = w.fresh(third, lambda k: _description(choice, harsh=k % 2 == 1))
    return [*talk, *described, *w.fresh(third, lambda _: Prompt(ask(choice, unseen).prompt, ("question",)))]


def _kind_talk(choice: Draw, harsh: bool) -> Prompt:
    told = describe(choice) if choice.chance(0.5) else None
    one, two = speakers(choice)
    while True:
        line = say(choice, "kind", told)
        if line.core.endswith(RUDE_ADJECTIVES) or not harsh:
            break
        told = None  # the scene may leave nothing harsh to say
    before = f"{told.text} " if told else ""
    return Prompt(f"{before}{one} says : {line.text} {two} says :", ("kind", *(["harsh"] if harsh else [])))


def _description(choice: Draw, harsh: bool) -> Prompt:
    """A description that breaks off before the state of its second thing."""
    while True:
        told: Told = describe(choice)
        if len(told.things) == 2 and (told.things[0].condition in RUDE_ADJECTIVES) == harsh:
            break
    one, two = told.things
    state = f" the {one.name} {one.verb} {one.condition} ." if one.condition else ""
    text = f"{told.opening}{state} the {two.name} {two.verb}"
    return Prompt(text, ("description", *(["harsh"] if harsh else [])))
