"""Measures what Orchard's scenes and models reach on the evaluation seeds, which trained none of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from .figures import Figure, Tally
from .grammar import Caption, sample_prompts, with_article
from .scenes import Scene, render
from .specs import SceneSpec, sample_spec
from .tokenizer import MAX_TOKENS, build_tokenizer
from .world import OBJECTS, SEEDS

if TYPE_CHECKING:
    from PIL import Image

    from .clip import Clip
    from .detector import Detector
    from .pipeline import Pipeline

#: An object counts as shown from this probability on.
PRESENT: Final = 0.5
#: By pipeline, the least shares asked: of single objects shown, of pairs shown whole, of empty tables left empty.
ASKED: Final = {"unet": (0.95, 0.85, 0.95), "dit": (0.90, 0.75, 0.95)}
_BATCH: Final = 125
_FIRST: Final = SEEDS["evaluation"].start


def scene_figures(n: int) -> list[Figure]:
    """Measure the mix of scenes, whether drawing repeats itself, and whether captions fit the text encoders.

    Args:
        n: How many scenes.
    """
    counts = [Tally() for _ in range(3)]
    looks = {look: Tally() for look in ("blurry", "sketch")}
    for seed in range(_FIRST, _FIRST + n):
        spec = sample_spec(random.Random(f"scene {seed}"))
        for count, tally in enumerate(counts):
            tally.add(len(spec.objects) == count)
        looks["sketch"].add(spec.look == "sketch")
        looks["blurry"].add(spec.look == "blurry" or any(thing.blurred for thing in spec.objects))
    again = Tally()
    for seed in range(_FIRST, _FIRST + max(1, n // 10)):
        one, two = render(seed), render(seed)
        same_masks = all(np.array_equal(a.mask, b.mask) for a, b in zip(one.objects, two.objects, strict=True))
        again.add(one.image.tobytes() == two.image.tobytes() and one.caption == two.caption and same_masks)
    fits, tokenizer = Tally(), build_tokenizer()
    for ids in tokenizer([str(caption) for caption in sample_prompts(n, _FIRST)]).input_ids:
        fits.add(len(ids) <= MAX_TOKENS)
    return [
        counts[0].share("scenes", "empty tables", 0.08, 0.12),
        counts[1].share("scenes", "single objects", 0.42, 0.48),
        counts[2].share("scenes", "pairs", 0.42, 0.48),
        looks["blurry"].share("scenes", "blurry, whole or in part", 0.17, 0.22),
        looks["sketch"].share("scenes", "sketches", 0.08, 0.12),
        again.share("scenes", "drawn twice the same", 1.0),
        fits.share("scenes", f"captions of at most {MAX_TOKENS} tokens", 0.999),
    ]


def detector_figures(detector: Detector, n: int) -> list[Figure]:
    """Measure the detector's label sets, by look, and how its heat maps meet the drawn masks, by object.

    Args:
        detector: The detector.
        n: How many scenes.
    """
    exact, overlap = Tally(), Tally()
    for scenes in _scenes(n, "detector"):
        found = detector([scene.image for scene in scenes])
        for row, scene in enumerate(scenes):
            shown = {name for name in OBJECTS if found.probabilities[name][row] > PRESENT}
            exact.add(shown == set(scene.spec.names), scene.spec.look)
            for name in scene.spec.names:
                drawn = np.any([thing.mask for thing in scene.objects if thing.name == name], axis=0)
                claimed = found.heat_maps[name][row].numpy() > PRESENT
                overlap.add((drawn & claimed).sum() / (drawn | claimed).sum(), name)
    return [
        exact.share("detector", "exact label set on renders", 0.99),
        overlap.mean("detector", "IoU of heat map and drawn mask", 0.60),
    ]


def clip_figures(clip: Clip, n: int) -> list[Figure]:
    """Measure zero-shot choices: which object, which two objects, and whether the picture is blurry.

    Args:
        clip: Model, preprocessing and tokenizer.
        n: How many scenes.
    """
    names = text_features(clip, [f"a photo of {_spoken(name)}" for name in OBJECTS])
    single, pair, blur = Tally(), Tally(), Tally()
    for scenes in _scenes(n, "clip"):
        scenes = [scene for scene in scenes if scene.objects]
        ranked = (image_features(clip, [scene.image for scene in scenes]) @ names.T).argsort(-1, descending=True)
        for scene, order in zip(scenes, ranked.tolist(), strict=True):
            best = [OBJECTS[i] for i in order]
            if len(scene.objects) == 1:
                single.add(best[0] == scene.spec.names[0], scene.spec.look, scene.spec.names[0])
            elif len(scene.spec.names) == 2:
                pair.add(set(best[:2]) == set(scene.spec.names), scene.spec.look)
        # The same scenes again, by turns wholly sharp and wholly blurred.
        blurred = [number % 2 for number in range(len(scenes))]
        seeds = range(_FIRST, _FIRST + len(scenes))
        specs = [_in_one_look(s.spec, "blurry" if b else "photo") for s, b in zip(scenes, blurred, strict=True)]
        pictures = image_features(clip, [render(seed, spec).image for seed, spec in zip(seeds, specs, strict=True)])
        subjects = [" and ".join(_spoken(name) for name in spec.names) for spec in specs]
        sharp, blurry = (
            (pictures * text_features(clip, [f"{start} {subject}" for subject in subjects])).sum(-1)
            for start in ("a photo of", "a blurry photo of")
        )
        for chosen, wanted in zip((blurry > sharp).tolist(), blurred, strict=True):
            blur.add(chosen == bool(wanted), "blurry" if wanted else "sharp")
    return [
        single.share("clip", "the one object, zero-shot among ten", 0.97),
        pair.share("clip", "both objects of a pair in the top two", 0.90),
        blur.share("clip", "blurry or sharp", 0.95),
    ]


def pipeline_figures(name: str, pipe: Pipeline, detector: Detector, n: int, batch_size: int = 25) -> list[Figure]:
    """Measure whether pictures show what their prompts ask for, by the detector, with the pipeline's own defaults.

    Args:
        name: The pipeline's name, ``"unet"`` or ``"dit"``: what is asked depends on it.
        pipe: The pipeline; its progress bar is turned off.
        detector: The judge.
        n: How many prompts of single objects; as many of pairs, half as many of empty tables.
        batch_size: Pictures drawn at a time.
    """
    kinds = {"single": n, "pair": n, "empty": max(1, n // 2)}
    prompts = [caption for kind, count in kinds.items() for caption in prompts_of(kind, count)]
    tallies = {kind: Tally() for kind in kinds}
    tidy = Tally()
    for prompt, shown in draw_and_judge(name, pipe, detector, prompts, batch_size):
        kind = ("empty", "single", "pair")[len(prompt.spec.objects)]
        way = "named" if prompt.named else "unnamed"
        parts = () if kind == "empty" else (*prompt.objects, way, prompt.spec.look)
        tallies[kind].add(set(prompt.objects) <= shown if kind != "empty" else not shown, *parts)
        tidy.add(shown <= set(prompt.objects), kind)
    single, pair, empty = ASKED[name]
    return [
        tallies["single"].share(name, "single objects shown", single),
        tallies["pair"].share(name, "both objects of a pair shown", pair),
        tallies["empty"].share(name, "empty tables stay empty", empty),
        tidy.share(name, "nothing shown that was not asked for", 0.0),
    ]


def prompts_of(kind: str, n: int) -> list[Caption]:
    """Take n prompts of one kind from Orchard's mix: every look, with and without the objects' names.

    Args:
        kind: ``"empty"``, ``"single"`` or ``"pair"`` (of two different objects).
        n: How many.
    """
    wanted = ("empty", "single", "pair").index(kind)
    found = [
        caption
        for caption in sample_prompts(20 * n + 200, _FIRST + wanted)
        if len(caption.spec.objects) == len(caption.spec.names) == wanted and not caption.open_fruits
    ]
    return found[:n]


def draw_and_judge(
    name: str, pipe: Pipeline, detector: Detector, prompts: Sequence[Caption], batch_size: int
) -> Iterator[tuple[Caption, set[str]]]:
    """Draw one picture a prompt, each from its own seed, and say what it shows.

    Args:
        name: Shown beside the progress bar.
        pipe: The pipeline; its progress bar is turned off.
        detector: The judge.
        prompts: What to draw.
        batch_size: Pictures drawn at a time.

    Yields:
        The prompt and the names of the objects that the detector finds.
    """
    pipe.set_progress_bar_config(disable=True)
    with tqdm(total=len(prompts), desc=name, unit="image") as bar:
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            seeds = range(_FIRST + start, _FIRST + start + len(batch))
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            images = pipe([str(prompt) for prompt in batch], generator=generators).images
            found = detector(images).probabilities
            bar.update(len(batch))
            for row, prompt in enumerate(batch):
                yield prompt, {thing for thing in OBJECTS if found[thing][row] > PRESENT}


@torch.no_grad()
def text_features(clip: Clip, texts: Sequence[str]) -> torch.Tensor:
    """(n, d) unit vectors of texts."""
    return F.normalize(clip.model.encode_text(clip.tokenizer(list(texts))), dim=-1)


@torch.no_grad()
def image_features(clip: Clip, images: Sequence[Image.Image]) -> torch.Tensor:
    """(n, d) unit vectors of pictures."""
    return F.normalize(clip.model.encode_image(torch.stack([clip.preprocess(image) for image in images])), dim=-1)


def _scenes(n: int, name: str) -> Iterator[list[Scene]]:
    """Draw the first n evaluation scenes, some at a time."""
    with tqdm(total=n, desc=name, unit="scene") as bar:
        for start in range(0, n, _BATCH):
            scenes = [render(seed) for seed in range(_FIRST + start, _FIRST + min(start + _BATCH, n))]
            yield scenes
            bar.update(len(scenes))


def _in_one_look(spec: SceneSpec, look: str) -> SceneSpec:
    return replace(spec, look=look, objects=tuple(replace(thing, blurred=False) for thing in spec.objects))


def _spoken(name: str) -> str:
    return f"some {name}" if name == "grapes" else with_article(name)
