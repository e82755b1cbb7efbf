"""Writes prompts/orchard/ from Orchard's grammar; the committed files are this script's output.

python tools/orchard_prompts.py          write them again
python tools/orchard_prompts.py --check  say whether they still match
"""

import sys
import tempfile
from filecmp import cmp
from pathlib import Path

import hard_prompts
import rudeness_prompts
import task_prompts
from prompt_writer import FIT, HELDOUT, TUNING, ObjectScenes, Pair, Writer, checks, concept_of, controls, w_named

from dsas_diffusion.orchard.grammar import framing, noun_phrase
from dsas_diffusion.orchard.specs import ObjectSpec
from dsas_diffusion.orchard.world import OBJECTS
from dsas_diffusion.prompts import Concept, Prompt, PromptSet

ROOT = Path(__file__).resolve().parent.parent / "prompts" / "orchard"
RED_THINGS, NEVER_RED = ("apple", "cup", "book"), ("banana", "pear", "orange", "lemon", "grapes", "carrot")


def object_set(concept: str) -> PromptSet:
    """An object: alone and beside another; the same scenes without it; everything else."""
    w = Writer(concept)
    others = tuple(name for name in OBJECTS if name != concept)
    scenes = ObjectScenes(w, concept, others)
    twins = w.fresh(FIT // 2, scenes.alone) + w.fresh(FIT // 2, scenes.mixed)
    return PromptSet(
        name=f"orchard/{concept}",
        source=tuple(s for s, _ in twins),
        target=tuple(t for _, t in twins),
        control=tuple(controls(w, others, w.named, FIT)),
        concept=concept_of(concept),
        tuning=checks(w, scenes.alone, scenes.mixed, lambda n: controls(w, others, w.named, n), TUNING),
        heldout=checks(w, scenes.alone, scenes.mixed, lambda n: controls(w, others, w.named, n), HELDOUT),
        twins=True,
    )


def look_set(look: str) -> PromptSet:
    """A look: scenes in it, the same scenes as plain photos, other plain scenes."""
    w = Writer(look)

    def alone(k: int) -> Pair:
        named, name = k % 2 == 0, w.rng.choice(OBJECTS)
        phrase = w.named(name) + w.at_place()
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
        place = w.at_place(0.6)
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
        place = w.at_place()
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
                place = w.at_place(0.8)
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


def sets() -> dict[str, tuple[PromptSet, str]]:
    """Give every set with what stands beside it: name → set and README, in the order of the world."""
    objects = {name: object_set(name) for name in OBJECTS}
    drawn = [*objects.values(), look_set("blurry"), look_set("sketch"), red_set(), blur_set()]
    found = {short_name(prompts): (prompts, readme(prompts)) for prompts in drawn}
    for name in rudeness_prompts.STYLES:
        found[name] = (rudeness_prompts.rudeness_set(Writer(name), name), rudeness_prompts.readme(name))
    for prompts in task_prompts.task_sets(objects):
        found[short_name(prompts)] = (prompts, task_prompts.readme(short_name(prompts)))
    return found


def short_name(prompts: PromptSet) -> str:
    """A set's name below `prompts/orchard`."""
    return prompts.name.partition("/")[2]


README = """# {name}

{about} Written by `tools/orchard_prompts.py` from Orchard's grammar, for Orchard's pipelines.

`source` holds 16 scenes of the concept alone and 16 mixed with something else, every second one without the
concept's own name; `target` the same scenes without it; `control` what must come out untouched. `tuning_*` is
for choosing settings, `heldout_*` for figures only. Licence: CC0-1.0.
"""


def readme(prompts: PromptSet) -> str:
    """What stands beside the files of an object, a look, a colour or blur."""
    about = f"Prompts for {prompts.concept.label!r}."
    if prompts.name == "orchard/blur":
        about = "Sharp scenes, and the same ones blurred: blur as a target."
    return README.format(name=prompts.name, about=about)


def write(root: Path) -> None:
    """Write all sets and hard cases below a folder."""
    made = sets()
    for name, (prompts, about) in made.items():
        prompts.to_folder(root / name, overwrite=True)
        (root / name / "README.md").write_text(about, encoding="utf-8")
    hard_prompts.write(root / "hard", {name: prompts for name, (prompts, _) in made.items()})


def main() -> int:
    """Write the files, or compare them with what would be written."""
    if "--check" not in sys.argv[1:]:
        write(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as place:
        write(Path(place))
        differing = [name for name in sorted(_files(Path(place)) | _files(ROOT)) if not _same(Path(place), ROOT, name)]
    for name in differing:
        print(f"prompts/orchard/{name} is not what tools/orchard_prompts.py writes; run it.")
    return 1 if differing else 0


def _files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def _same(one: Path, other: Path, name: str) -> bool:
    return all((root / name).is_file() for root in (one, other)) and cmp(one / name, other / name, shallow=False)


if __name__ == "__main__":
    sys.exit(main())
