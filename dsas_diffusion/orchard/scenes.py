"""Orchard's scenes: from a seed to a picture, a caption and one mask per object."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .grammar import caption_of
from .shapes import MIRRORED, PALETTE, SHAPES, TURN, Colour, jitter, shade
from .specs import ObjectSpec, SceneSpec, sample_spec
from .world import IMAGE_SIZE

SUPERSAMPLING: Final = 4
#: Standard deviation of the Gaussian blur of the blurry look, in pixels of the finished picture.
BLUR_SIGMA: Final = 1.8

_GROUND_COLOURS: Final[dict[str, Colour]] = {
    "wooden": (160, 112, 68),
    "blue": (92, 134, 206),
    "green": (98, 164, 108),
    "grey": (140, 142, 148),
    "pink": (234, 160, 186),
}
_WALLS: Final[tuple[Colour, ...]] = ((230, 224, 208), (208, 220, 230), (218, 210, 224))
_PAPER: Final[Colour] = (245, 242, 234)
_INK: Final[Colour] = (72, 72, 78)
_SINGLE_PLACES: Final = {"centre": (32, 37), "left": (19, 37), "right": (45, 37), "top": (32, 20), "bottom": (32, 46)}
_SINGLE_RADII: Final = {"small": (9.5, 11.5), "medium": (14.0, 17.0), "big": (19.0, 21.5)}
_PAIR_RADII: Final = {"small": (9.0, 10.2), "medium": (12.0, 13.8), "big": (14.6, 15.6)}


class SceneObject(NamedTuple):
    """A drawn object.

    Attributes:
        name: One of ``OBJECTS``.
        attributes: ``size``, ``place``, ``focus`` and, where the object has several, ``colour``.
        mask: (64, 64) bool, true where the object is seen.
    """

    name: str
    attributes: dict[str, str]
    mask: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A finished scene.

    Attributes:
        image: 64×64 RGB.
        caption: One sentence of the grammar that describes it.
        objects: The drawn objects, the hindmost first.
        spec: What was drawn.
    """

    image: Image.Image
    caption: str
    objects: list[SceneObject] = field(repr=False)
    spec: SceneSpec


def render(seed: int, spec: SceneSpec | None = None) -> Scene:
    """Draw the scene that a seed stands for. The same seed gives the same picture, caption and masks.

    Args:
        seed: Any integer; ``world.SEEDS`` names the ranges.
        spec: What to draw, instead of a scene from Orchard's mix; the seed still settles position, tint and wording.

    Returns:
        The finished scene.
    """
    rng = random.Random(f"scene {seed}")
    spec = spec or sample_spec(rng)
    image, masks = draw(spec, rng)
    objects = [SceneObject(o.name, o.attributes, mask) for o, mask in zip(spec.objects, masks, strict=True)]
    return Scene(image, caption_of(spec, rng), objects, spec)


def draw(spec: SceneSpec, rng: random.Random) -> tuple[Image.Image, list[np.ndarray]]:
    """Draw a scene.

    Returns:
        A 64×64 RGB image, and one (64, 64) bool mask per object: where it is seen, later objects hiding earlier ones.
    """
    sketch = spec.look == "sketch"
    canvas = np.asarray(_background(spec.ground, sketch, rng), dtype=np.float32)
    masks: list[np.ndarray] = []
    for thing in spec.objects:
        layer, alpha = _object_layer(thing, len(spec.objects), sketch, rng)
        cover = layer[..., 3:] / 255.0
        canvas = canvas * (1 - cover) + layer[..., :3]
        seen = alpha > 0.5
        masks = [mask & ~seen for mask in masks] + [seen]
    image = Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8))
    return (image.filter(ImageFilter.GaussianBlur(BLUR_SIGMA)) if spec.look == "blurry" else image), masks


def _background(ground: str, sketch: bool, rng: random.Random) -> Image.Image:
    scale = SUPERSAMPLING
    side = IMAGE_SIZE * scale
    horizon = rng.uniform(12, 19) * scale
    wall, table = jitter(rng.choice(_WALLS), rng, 6), jitter(_GROUND_COLOURS[ground], rng, 7)
    image = Image.new("RGB", (side, side), _PAPER if sketch else wall)
    pen = ImageDraw.Draw(image)
    if sketch:
        pen.line([(0, horizon), (side, horizon)], fill=_INK, width=scale)
        return image.reduce(scale)
    pen.rectangle([0, horizon, side, side], fill=table)
    pen.rectangle([0, horizon, side, horizon + 1.2 * scale], fill=shade(table, 0.8))
    if ground == "wooden":
        for k in range(1, 4):
            y = horizon + k * (side - horizon) / 4
            pen.line([(0, y), (side, y)], fill=shade(table, 0.86), width=scale)
    return image.reduce(scale)


def _object_layer(thing: ObjectSpec, count: int, sketch: bool, rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Draw one object on a clear layer.

    Returns:
        (64, 64, 4) premultiplied RGBA in 0..255 with the object's shadow, and the (64, 64) share of each pixel that the
        object itself covers.
    """
    x, y, radius = _placement(thing, count, rng)
    angle = math.radians(rng.uniform(-TURN[thing.name], TURN[thing.name]))
    mirror = -1 if thing.name in MIRRORED and rng.random() < 0.5 else 1
    stretch = rng.uniform(0.95, 1.05)
    colour = jitter(PALETTE[thing.name][thing.colour], rng, 9)
    cos, sin, scale = math.cos(angle), math.sin(angle), SUPERSAMPLING

    def place(point: tuple[float, float]) -> tuple[float, float]:
        px, py = point[0] * mirror * stretch, point[1] / stretch
        return (x + radius * (cos * px - sin * py)) * scale, (y + radius * (sin * px + cos * py)) * scale

    size = (IMAGE_SIZE * scale, IMAGE_SIZE * scale)
    layer, cover = Image.new("RGBA", size), Image.new("L", size)
    pen, stencil = ImageDraw.Draw(layer), ImageDraw.Draw(cover)
    parts = SHAPES[thing.name](colour)
    if not sketch:
        shadow = (
            (x - 0.85 * radius) * scale,
            (y + 0.68 * radius) * scale,
            (x + 0.85 * radius) * scale,
            (y + 1.06 * radius) * scale,
        )
        pen.ellipse(shadow, fill=(30, 30, 40, 70))
        for part in parts:  # a dark rim keeps things apart from a ground of their own colour
            if part.line and part.colour is not None:
                corners = [place(p) for p in part.points]
                pen.line(
                    [*corners, corners[0], corners[1]],
                    fill=(*shade(part.colour, 0.5), 255),
                    width=round(1.6 * scale),
                    joint="curve",
                )
    for part in parts:
        corners = [place(p) for p in part.points]
        if part.colour is None:
            pen.polygon(corners, fill=(0, 0, 0, 0))
            stencil.polygon(corners, fill=0)
            if sketch:
                pen.polygon(corners, fill=(*_PAPER, 255))
        elif not sketch or part.line:
            pen.polygon(corners, fill=(*(_PAPER if sketch else part.colour), 255))
            stencil.polygon(corners, fill=255)
        if sketch and part.line:
            pen.line([*corners, corners[0], corners[1]], fill=(*_INK, 255), width=scale, joint="curve")
    small = layer.convert("RGBa").reduce(scale)
    bands = small.split()
    if thing.blurred:
        bands = tuple(band.filter(ImageFilter.GaussianBlur(BLUR_SIGMA)) for band in bands)
    return np.stack([np.asarray(band, dtype=np.float32) for band in bands], -1), np.asarray(
        cover.reduce(scale), dtype=np.float32
    ) / 255


def _placement(thing: ObjectSpec, count: int, rng: random.Random) -> tuple[float, float, float]:
    """Centre and radius in pixels, the object kept within the frame."""
    if count == 1:
        radius = rng.uniform(*_SINGLE_RADII[thing.size])
        x, y = _SINGLE_PLACES[thing.place]
        x, y = x + rng.uniform(-2, 2), y + rng.uniform(-2, 2)
    else:
        radius = rng.uniform(*_PAIR_RADII[thing.size])
        if thing.place in ("left", "right"):
            x, y = (16.5 if thing.place == "left" else 47.5) + rng.uniform(-1, 1), 37 + rng.uniform(-3, 3)
        else:
            x, y = 32 + rng.uniform(-7, 7), (17 if thing.place == "top" else 47) + rng.uniform(-1, 1)
    margin = 0.96 * radius
    return min(max(x, margin), IMAGE_SIZE - margin), min(max(y, margin), IMAGE_SIZE - margin), radius
