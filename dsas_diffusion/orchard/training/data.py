"""Rendered scenes as arrays, drawn in parallel and kept between runs."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from ...files import atomic_folder
from ..grammar import caption_of
from ..scenes import draw
from ..specs import SceneSpec, sample_spec
from ..world import LOOKS, OBJECTS

_CHUNK = 500
T = TypeVar("T")


@dataclass
class SceneBatch:
    """Many scenes as arrays.

    Attributes:
        images: (n, 64, 64, 3) uint8.
        captions: n sentences.
        labels: (n, 10) bool, which objects are there.
        looks: (n,) index into ``LOOKS``.
        centres: (n, 10, 8, 8) bool, the cells of an 8×8 grid that each object covers by more than a half.
    """

    images: np.ndarray
    captions: list[str]
    labels: np.ndarray
    looks: np.ndarray
    centres: np.ndarray


def render_many(seeds: range, name: str, cache: Path | None = None) -> SceneBatch:
    """Draw one scene per seed, on all cores.

    Args:
        seeds: Scene seeds, from one of the ranges in ``world.SEEDS``.
        name: Shown beside the progress bar, and the folder's name in the cache.
        cache: Where finished batches are kept; ``None`` keeps none.

    Returns:
        The scenes in the order of their seeds.
    """
    folder = cache / f"{name}-{seeds.start}-{len(seeds)}" if cache else None
    if folder and folder.exists():
        return _load(folder)
    parts = draw_seeds(_render_chunk, seeds, name)
    batch = SceneBatch(
        images=np.concatenate([part.images for part in parts]),
        captions=[caption for part in parts for caption in part.captions],
        labels=np.concatenate([part.labels for part in parts]),
        looks=np.concatenate([part.looks for part in parts]),
        centres=np.concatenate([part.centres for part in parts]),
    )
    if folder:
        _save(batch, folder)
    return batch


def draw_seeds(draw_chunk: Callable[[range], T], seeds: range, name: str) -> list[T]:
    """Call a function on runs of seeds, on all cores.

    Args:
        draw_chunk: Takes a range of at most 500 seeds; a function of a module, since it is sent to other processes.
        seeds: Scene seeds.
        name: Shown beside the progress bar.

    Returns:
        What the function returned, in the order of the seeds.
    """
    chunks = [range(start, min(start + _CHUNK, seeds.stop)) for start in range(seeds.start, seeds.stop, _CHUNK)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=context) as pool:
        progress = tqdm(
            pool.map(draw_chunk, chunks), total=len(chunks), desc=f"draw {name}", unit_scale=_CHUNK, unit="scene"
        )
        return list(progress)


def _render_chunk(seeds: range) -> SceneBatch:
    images, captions, labels, looks, centres = [], [], [], [], []
    for seed in seeds:
        rng = random.Random(f"scene {seed}")
        spec = sample_spec(rng)
        image, masks = draw(spec, rng)
        images.append(np.asarray(image))
        captions.append(str(caption_of(spec, rng)))
        labels.append([name in spec.names for name in OBJECTS])
        looks.append(LOOKS.index(spec.look))
        centres.append(_cells(spec, masks))
    return SceneBatch(np.stack(images), captions, np.array(labels), np.array(looks), np.stack(centres))


def _cells(spec: SceneSpec, masks: list[np.ndarray]) -> np.ndarray:
    cells = np.zeros((len(OBJECTS), 8, 8), dtype=bool)
    for thing, mask in zip(spec.objects, masks, strict=True):
        cells[OBJECTS.index(thing.name)] |= mask.reshape(8, 8, 8, 8).mean(axis=(1, 3)) > 0.5
    return cells


def _save(batch: SceneBatch, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as partial:
        np.savez(
            partial / "scenes.npz", images=batch.images, labels=batch.labels, looks=batch.looks, centres=batch.centres
        )
        (partial / "captions.txt").write_text("\n".join(batch.captions), encoding="utf-8")


def _load(folder: Path) -> SceneBatch:
    arrays = np.load(folder / "scenes.npz")
    captions = (folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    return SceneBatch(arrays["images"], captions, arrays["labels"], arrays["looks"], arrays["centres"])


def as_tensor(images: np.ndarray) -> torch.Tensor:
    """Turn (n, 64, 64, 3) uint8 into (n, 3, 64, 64) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
