"""Writes prompts/orchard/ from Orchard's grammar; the committed files are this script's output.

python tools/orchard_prompts.py          write them again
python tools/orchard_prompts.py --check  say whether they still match
"""

import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from filecmp import dircmp
from pathlib import Path

import rudeness_prompts

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard.grammar import UNNAMED, framing, noun_phrase, place_phrase, with_article
from dsas_diffusion.orchard.scenes import ObjectSpec, sample_object
from dsas_diffusion.orchard.world import GROUNDS, OBJECTS, PLACES
from dsas_diffusion.prompts import Concept, Prompt, PromptSet

ROOT = Path(__file__).resolve().parent.parent / "prompts" / "orchard"
#: Fit sets hold 16 alone and 16 mixed; what settings are chosen on, and what figures are reported on, stands apart.
FIT, TUNING, HELDOUT = 32, 32, 64
RED_THINGS, NEVER_RED = ("apple", "cup", "book"), ("banana", "pear", "orange", "lemon", "grapes", "carrot")

Pair = tuple[Prompt, Prompt]


class Writer:
    """Draws prompts that no group of the set has yet."""

    def __init__(self, name: str) -> None:
        self.rng = random.Random(f"prompt set {name}")
        self.used: set[str] = set()

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

    def thing(self, name: str) -> ObjectSpec:
        """An object of medium size: sizes are left to the captions of the world."""
        return replace(sample_object(self.rng, name), size="medium")

    def named(self, name: str) -> str:
        """An object by its own name, now and then with its colour."""
        return noun_phrase(self.thing(name), "name", self.rng, colour=self.rng.random() < 0.3, named=True)

    def unnamed(self, name: str, k: int) -> str:
        """An object without its name: synonyms, descriptions and misspellings in turn."""
        way = list(UNNAMED)[k % 3]
        return noun_phrase(self.thing(name), way, self.rng, choice=(k // 3) % 2)

    def pair_form(self, first: str, second: str) -> tuple[str, str, str]:
        """Two phrases as a pair; and what is left of it without the first, or without the second."""
        a, b = self.rng.choice((("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top")))
        beside = {"left": "to the left of", "right": "to the right of", "top": "above", "bottom": "below"}[a]
        placed = f"{first} {place_phrase(a)} and {second} {place_phrase(b)}"
        forms = (
            (placed, f"{second} {place_phrase(b)}", f"{first} {place_phrase(a)}"),
            (f"{first} and {second}", second, first),
            (f"{first} {beside} {second}", f"{second} {place_phrase(b)}", f"{first} {place_phrase(a)}"),
        )
        return self.rng.choice(forms)


def controls(w: Writer, names: tuple[str, ...], say: Callable[[str], str], count: int) -> list[Prompt]:
    """Half single scenes, half pairs, of the given objects only."""

    def make(k: int) -> Prompt:
        if k < count // 2:
            name = names[k % len(names)]
            place = f" {place_phrase(w.rng.choice(PLACES))}" if w.rng.random() < 0.5 else ""
            return Prompt(w.scene(say(name) + place), (name,))
        one, two = w.rng.sample(names, 2)
        return Prompt(w.scene(w.pair_form(say(one), say(two))[0]), (one, two))

    return w.fresh(count, make)


def object_set(concept: str) -> PromptSet:
    """An object: alone and beside another; the same scenes without it; everything else."""
    w = Writer(concept)
    others = tuple(name for name in OBJECTS if name != concept)

    def alone(k: int) -> Pair:
        named = k % 2 == 0
        phrase = w.named(concept) if named else w.unnamed(concept, k // 2)
        place = f" {place_phrase(w.rng.choice(PLACES))}" if w.rng.random() < 0.5 else ""
        frame, ground = framing("photo", w.rng), w.on_table()
        table = ground.split(" on ", 1)[-1] if ground else "a table"
        empty = with_article("empty " + table.split(" ", 1)[1])
        return Prompt(frame + phrase + place + ground, (concept,), named), Prompt(frame + empty, (), True)

    def mixed(k: int) -> Pair:
        named = k % 2 == 0
        other = others[w.rng.randrange(len(others))]
        phrase = w.named(concept) if named else w.unnamed(concept, k // 2)
        phrases = (phrase, w.named(other))
        swap = w.rng.random() < 0.5
        whole, without_first, without_second = w.pair_form(*(reversed(phrases) if swap else phrases))
        frame, ground = framing("photo", w.rng), w.on_table()
        left = without_second if swap else without_first
        return Prompt(frame + whole + ground, (concept, other), named), Prompt(frame + left + ground, (other,), True)

    twins = w.fresh(FIT // 2, alone) + w.fresh(FIT // 2, mixed)
    return PromptSet(
        name=f"orchard/{concept}",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(controls(w, others, w.named, FIT)),
        concept=Concept(
            concept,
            f"a photo of {w_named(concept)}",
            (*(f"a photo of {w_named(name)}" for name in others), "a photo of an empty table"),
        ),
        tuning=checks(w, alone, mixed, lambda n: controls(w, others, w.named, n), TUNING),
        heldout=checks(w, alone, mixed, lambda n: controls(w, others, w.named, n), HELDOUT),
        twins=True,
    )


def w_named(name: str) -> str:
    """An object's name with its article."""
    return "some grapes" if name == "grapes" else with_article(name)


def checks(w: Writer, alone: Callable, mixed: Callable, control: Callable, count: int) -> dict[str, tuple[Prompt, ...]]:
    """The three groups that results are judged on."""
    return {
        "source": tuple(w.fresh(count, lambda k: alone(k)[0])),
        "control": tuple(control(count)),
        "mixed": tuple(w.fresh(count, lambda k: mixed(k)[0])),
    }


def look_set(look: str) -> PromptSet:
    """A look: scenes in it, the same scenes as plain photos, other plain scenes."""
    w = Writer(look)

    def alone(k: int) -> Pair:
        named, name = k % 2 == 0, w.rng.choice(OBJECTS)
        phrase = w.named(name) + (f" {place_phrase(w.rng.choice(PLACES))}" if w.rng.random() < 0.5 else "")
        return scene(phrase, (name,), named)

    def mixed(k: int) -> Pair:
        one, two = w.rng.sample(OBJECTS, 2)
        return scene(w.pair_form(w.named(one), w.named(two))[0], (one, two), k % 2 == 0)

    def scene(phrase: str, names: tuple[str, ...], named: bool) -> Pair:
        phrase = phrase if look == "blurry" else colourless(phrase)
        ground = w.on_table() if look == "blurry" else ""
        start = framing(look, w.rng, named)
        plain = framing("photo", w.rng)
        return Prompt(start + phrase + ground, (look, *names), named), Prompt(plain + phrase + ground, names)

    twins = w.fresh(FIT // 2, alone) + w.fresh(FIT // 2, mixed)
    text, other = {
        "blurry": ("a blurry photo of a table", "a sketch of a table"),
        "sketch": ("a sketch of a table", "a blurry photo of a table"),
    }[look]
    return PromptSet(
        name=f"orchard/{look}",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(controls(w, OBJECTS, w.named, FIT)),
        concept=Concept(look, text, ("a photo of a table", other)),
        tuning=checks(w, alone, mixed, lambda n: controls(w, OBJECTS, w.named, n), TUNING),
        heldout=checks(w, alone, mixed, lambda n: controls(w, OBJECTS, w.named, n), HELDOUT),
        twins=True,
    )


def colourless(phrase: str) -> str:
    """A sketch has no colours, so its prompts name none."""
    for colour in ("red", "green", "yellow", "purple", "white", "blue"):
        phrase = phrase.replace(f" {colour} ", " ")
    return phrase.replace("a apple", "an apple")


def red_set() -> PromptSet:
    """The colour red on the three things that come in it; the same things in their other colours; things never red."""
    w = Writer("red")

    def red(name: str, named: bool) -> str:
        return noun_phrase(ObjectSpec(name, "red"), "name", w.rng, colour=True, named=named)

    def otherwise(name: str) -> str:
        colour = {"apple": "green", "cup": w.rng.choice(("blue", "white")), "book": "blue"}[name]
        return noun_phrase(ObjectSpec(name, colour), "name", w.rng, colour=True, named=True)

    def alone(k: int) -> Pair:
        named, name = k % 2 == 0, RED_THINGS[k % 3]
        frame, ground = framing("photo", w.rng), w.on_table()
        place = f" {place_phrase(w.rng.choice(PLACES))}" if w.rng.random() < 0.6 else ""
        return (Prompt(frame + red(name, named) + place + ground, ("red", name), named),
                Prompt(frame + otherwise(name) + place + ground, (name,)))  # fmt: skip

    def mixed(k: int) -> Pair:
        named, name, other = k % 2 == 0, RED_THINGS[k % 3], w.rng.choice(NEVER_RED)
        frame, ground = framing("photo", w.rng), w.on_table()
        said, instead = red(name, named), otherwise(name)
        whole = w.pair_form(said, w.named(other))[0]
        return (Prompt(frame + whole + ground, ("red", name, other), named),
                Prompt(frame + whole.replace(said, instead) + ground, (name, other)))  # fmt: skip

    def plain(name: str) -> str:
        return w.named(name) if name in NEVER_RED else otherwise(name)

    everything = NEVER_RED + RED_THINGS
    twins = w.fresh(FIT // 2, alone) + w.fresh(FIT // 2, mixed)
    return PromptSet(
        name="orchard/red",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(controls(w, everything, plain, FIT)),
        concept=Concept(
            "red",
            "a photo of a red thing",
            ("a photo of a green thing", "a photo of a blue thing", "a photo of a yellow thing"),
        ),
        tuning=checks(w, alone, mixed, lambda n: controls(w, everything, plain, n), TUNING),
        heldout=checks(w, alone, mixed, lambda n: controls(w, everything, plain, n), HELDOUT),
        twins=True,
    )


def blur_set() -> PromptSet:
    """Blur as a target: sharp scenes, the same scenes blurred; sketches must come out untouched."""
    w = Writer("blur")

    def alone(k: int) -> Pair:
        name = OBJECTS[k % len(OBJECTS)]
        place = f" {place_phrase(w.rng.choice(PLACES))}" if w.rng.random() < 0.5 else ""
        return scene(w.named(name) + place, (name,))

    def mixed(k: int) -> Pair:
        one, two = w.rng.sample(OBJECTS, 2)
        return scene(w.pair_form(w.named(one), w.named(two))[0], (one, two))

    def scene(phrase: str, names: tuple[str, ...]) -> Pair:
        ground, kind = w.on_table(), w.rng.choice(("photo", "picture"))
        return (
            Prompt(f"a {kind} of {phrase}{ground}", names),
            Prompt(f"a blurry {kind} of {phrase}{ground}", ("blurry", *names)),
        )

    def sketches(count: int) -> list[Prompt]:
        def make(k: int) -> Prompt:
            if k < count // 2:
                name = OBJECTS[k % len(OBJECTS)]
                place = f" {place_phrase(w.rng.choice(PLACES))}" if w.rng.random() < 0.8 else ""
                return Prompt(framing("sketch", w.rng) + w_named(name) + place, ("sketch", name))
            one, two = w.rng.sample(OBJECTS, 2)
            return Prompt(framing("sketch", w.rng) + w.pair_form(w_named(one), w_named(two))[0], ("sketch", one, two))

        return w.fresh(count, make)

    twins = w.fresh(FIT // 2, alone) + w.fresh(FIT // 2, mixed)
    return PromptSet(
        name="orchard/blur",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(sketches(FIT)),
        concept=Concept("sharp", "a photo of a table", ("a blurry photo of a table", "a sketch of a table")),
        tuning=checks(w, alone, mixed, sketches, TUNING),
        heldout=checks(w, alone, mixed, sketches, HELDOUT),
        twins=True,
    )


def sets() -> list[PromptSet]:
    """Every set, in the order of the world."""
    drawn = [*(object_set(name) for name in OBJECTS), look_set("blurry"), look_set("sketch"), red_set(), blur_set()]
    return [*drawn, *(rudeness_prompts.rudeness_set(Writer(name), name) for name in rudeness_prompts.STYLES)]


README = """# {name}

{about} Written by `tools/orchard_prompts.py` from Orchard's grammar, for Orchard's pipelines.

`source` holds 16 scenes of the concept alone and 16 mixed with something else, every second one without the
concept's own name; `target` the same scenes without it; `control` what must come out untouched. `tuning_*` is
for choosing settings, `heldout_*` for figures only. Licence: CC0-1.0.
"""


def write(root: Path) -> None:
    """Write all sets below a folder."""
    for prompts in sets():
        folder = root / prompts.name.partition("/")[2]
        prompts.to_folder(folder, overwrite=True)
        about = (
            f"Prompts for {prompts.concept.label!r}."
            if prompts.name != "orchard/blur"
            else "Sharp scenes, and the same ones blurred: blur as a target."
        )
        text = README.format(name=prompts.name, about=about)
        if folder.name in rudeness_prompts.STYLES:
            text = rudeness_prompts.readme(folder.name)
        (folder / "README.md").write_text(text, encoding="utf-8")


def main() -> int:
    """Write the files, or compare them with what would be written."""
    if "--check" not in sys.argv[1:]:
        write(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        differing = [
            f"{folder.name}/{name}"
            for folder in sorted(Path(place).iterdir())
            for name in (lambda c: [*c.diff_files, *c.left_only, *c.right_only])(dircmp(folder, ROOT / folder.name))
        ]
    for name in differing:
        print(f"prompts/orchard/{name} is not what tools/orchard_prompts.py writes; run it.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
