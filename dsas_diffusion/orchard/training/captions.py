"""Scenes with several right captions each, and captions that are wrong in one thing."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from ..grammar import caption_of
from ..scenes import draw
from ..specs import SceneSpec, sample_object, sample_spec
from ..world import LOOKS, OBJECTS
from .data import draw_seeds

#: Right captions a scene.
RIGHT: Final = 4
#: Wrong captions of either kind a scene.
WRONG: Final = 3


class CaptionedScenes(NamedTuple):
    """Scenes with what may and what may not be said of them.

    Attributes:
        images: (n, 64, 64, 3) uint8.
        captions: (n, 4) texts that are right.
        wrong: (n, 2, 3) texts that are wrong, first in an object, then in the look.
    """

    images: np.ndarray
    captions: np.ndarray
    wrong: np.ndarray


def render_captioned(seeds: range) -> CaptionedScenes:
    """Draw one scene per seed, on all cores, with its captions."""
    parts = draw_seeds(_render_chunk, seeds, "captioned scenes")
    return CaptionedScenes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _render_chunk(seeds: range) -> CaptionedScenes:
    images, captions, wrong = [], [], []
    for seed in seeds:
        rng = random.Random(f"scene {seed}")
        spec = sample_spec(rng)
        images.append(np.asarray(draw(spec, rng)[0]))
        captions.append([str(caption_of(part_of(spec, rng) if k % 2 else spec, rng)) for k in range(RIGHT)])
        wrong.append([[change(spec, rng) for _ in range(WRONG)] for change in (_wrong_object, _wrong_look)])
    return CaptionedScenes(np.stack(images), np.array(captions, dtype=object), np.array(wrong, dtype=object))


def part_of(spec: SceneSpec, rng: random.Random) -> SceneSpec:
    """Keep one object of a pair, since people seldom name all that they see; other scenes as they are."""
    if len(spec.names) < 2:
        return spec
    return replace(spec, objects=(rng.choice(spec.objects),))


def with_wrong_object(spec: SceneSpec, rng: random.Random) -> SceneSpec:
    """Put something else in the place of one object; an empty table gets an object."""
    name = rng.choice([name for name in OBJECTS if name not in spec.names])
    other = sample_object(rng, name)
    if not spec.objects:
        return replace(spec, objects=(other,))
    if len(spec.names) < len(spec.objects):  # two of a kind stay two of a kind
        return replace(spec, objects=tuple(replace(other, place=thing.place) for thing in spec.objects))
    which = rng.randrange(len(spec.objects))
    changed = replace(other, place=spec.objects[which].place, blurred=spec.objects[which].blurred)
    return replace(spec, objects=tuple(changed if i == which else thing for i, thing in enumerate(spec.objects)))


def with_wrong_look(spec: SceneSpec, rng: random.Random) -> SceneSpec:
    """Take another look; where one object alone is blurred, the other one is, or none."""
    if not any(thing.blurred for thing in spec.objects):
        return replace(spec, look=rng.choice([look for look in LOOKS if look != spec.look]))
    sharp = len(spec.objects) == 1
    return replace(spec, objects=tuple(replace(t, blurred=not sharp and not t.blurred) for t in spec.objects))


def _wrong_object(spec: SceneSpec, rng: random.Random) -> str:
    while True:
        changed = with_wrong_object(spec, rng)
        # Now and then one object of a pair goes unnamed, but never the wrong one.
        new = [thing for thing in changed.objects if thing.name not in spec.names]
        if len(new) == 1 and len(changed.objects) == 2 and rng.random() < 0.5:
            changed = replace(changed, objects=(new[0],))
        caption = caption_of(changed, rng)
        if not caption.open_fruits:  # "a fruit" would be right again
            return str(caption)


def _wrong_look(spec: SceneSpec, rng: random.Random) -> str:
    return str(caption_of(with_wrong_look(spec, rng), rng))
