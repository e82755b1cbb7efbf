"""What a scene holds before it is drawn: objects with their attributes, the ground, the look; drawn by chance."""

import random
from dataclasses import dataclass, replace

from .world import GROUNDS, OBJECT_COLOURS, OBJECTS, PLACES


@dataclass(frozen=True)
class ObjectSpec:
    """One object of a scene, before it is drawn.

    Attributes:
        name: One of ``OBJECTS``.
        colour: One of the object's colours; empty for objects of one colour.
        size: One of ``SIZES``.
        place: One of ``PLACES``.
        blurred: Whether this object alone is out of focus.
    """

    name: str
    colour: str = ""
    size: str = "medium"
    place: str = "centre"
    blurred: bool = False

    @property
    def attributes(self) -> dict[str, str]:
        """What a caption may say of the object."""
        said = {"size": self.size, "place": self.place, "focus": "blurred" if self.blurred else "sharp"}
        return {"colour": self.colour, **said} if self.colour else said


@dataclass(frozen=True)
class SceneSpec:
    """A scene before it is drawn.

    Args:
        objects: In the order in which they are drawn; a later one may lie on an earlier one.
        ground: What they lie on, one of `GROUNDS`.
        look: How it is drawn, one of `LOOKS`.
    """

    objects: tuple[ObjectSpec, ...]
    ground: str
    look: str = "photo"

    @property
    def names(self) -> tuple[str, ...]:
        """The objects' names, each once, in drawing order."""
        return tuple(dict.fromkeys(spec.name for spec in self.objects))


def sample_object(rng: random.Random, name: str) -> ObjectSpec:
    """Draw an object's free attributes: colour and size."""
    colour = rng.choice(OBJECT_COLOURS[name]) if name in OBJECT_COLOURS else ""
    return ObjectSpec(name, colour=colour, size=rng.choices(("small", "medium", "big"), (0.18, 0.6, 0.22))[0])


def arrange_pair(rng: random.Random, first: ObjectSpec, second: ObjectSpec) -> tuple[ObjectSpec, ObjectSpec]:
    """Put two objects side by side (three times in four) or one above the other."""
    places = ("left", "right") if rng.random() < 0.75 else ("top", "bottom")
    return replace(first, place=places[0]), replace(second, place=places[1])


def sample_spec(rng: random.Random, objects: tuple[str, ...] = OBJECTS) -> SceneSpec:
    """Draw a scene from Orchard's mix.

    10 % empty tables, 45 % single objects, 45 % pairs (one in twelve of them two of a kind); 20 % blurry, a third of
    those with one object blurred alone; 10 % sketches.

    Args:
        rng: Source of randomness.
        objects: The objects that may appear.
    """
    count = rng.choices((0, 1, 2), (0.10, 0.45, 0.45))[0]
    look = rng.choices(("photo", "blurry", "sketch"), (0.70, 0.20, 0.10))[0]
    ground = rng.choice(GROUNDS)
    if count == 0:
        return SceneSpec((), ground, look)
    chosen: tuple[ObjectSpec, ...]
    if count == 1:
        chosen = (replace(sample_object(rng, rng.choice(objects)), place=rng.choice(PLACES)),)
    else:
        twins = len(objects) < 2 or rng.random() < 1 / 12
        names = rng.sample(objects, 2) if not twins else [rng.choice(objects)] * 2
        first = sample_object(rng, names[0])
        second = sample_object(rng, names[1]) if not twins else first
        chosen = arrange_pair(rng, first, second)
    one_blurred = look == "blurry" and rng.random() < 0.35 and not (count == 2 and chosen[0].name == chosen[-1].name)
    if one_blurred:
        which = rng.randrange(count)
        chosen = tuple(replace(spec, blurred=i == which) for i, spec in enumerate(chosen))
        look = "photo"
    return SceneSpec(chosen, ground, look)
