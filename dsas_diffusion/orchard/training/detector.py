"""Trains Orchard's detector on renders and on round trips through the pipelines' autoencoder."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from ...errors import InputError
from ..detector import CONFIG_FILE, GRID, WEIGHTS_FILE, DetectorNetwork, load_network
from ..scenes import draw
from ..specs import sample_spec
from ..weight_files import write_weights
from ..world import IMAGE_SIZE, OBJECTS, SEEDS
from .data import as_tensor, draw_seeds
from .loop import Trainer, checkpoints, training_folder
from .roundtrip import load_autoencoder, round_trip

_CELL: Final = IMAGE_SIZE // GRID
#: How much of a cell an object covers is told apart in this many levels.
_LEVELS: Final = _CELL * _CELL


class MaskedScenes(NamedTuple):
    """Scenes with what the detector must answer.

    Attributes:
        images: (n, 64, 64, 3) uint8.
        labels: (n, 10) bool, which objects are there.
        cover: (n, 10, 16, 16) uint8, how many of a cell's 16 pixels each object covers.
    """

    images: np.ndarray
    labels: np.ndarray
    cover: np.ndarray


def train(
    out: str = "outputs/orchard/detector",
    steps: int = 2000,
    batch_size: int = 64,
    scenes: int = 16_000,
    learning_rate: float = 3e-3,
    autoencoder: str | None = None,
    device: str = "cpu",
    resume: bool = False,
) -> None:
    """Train the detector from nothing.

    Args:
        out: Folder for checkpoints, and for the finished weights under ``detector/``.
        steps: Optimiser steps.
        batch_size: Scenes a step; half of them sent through the autoencoder.
        scenes: How many scenes to draw and train on.
        learning_rate: Highest learning rate.
        autoencoder: Folder of the pipelines' autoencoder; by default the committed one; ``none`` trains on renders
            alone.
        device: Where to train, ``cpu`` or ``cuda``.
        resume: Go on from the checkpoint in the folder; where there is none, from the committed weights.

    Raises:
        InputError: If the folder holds another run, the autoencoder or the device is missing, or there is nothing to
            resume.
    """
    if batch_size < 2:
        raise InputError(f"batch_size must be at least 2, but is {batch_size}.")
    vae = load_autoencoder(autoencoder)
    folder = training_folder(out, device, resume)
    torch.manual_seed(0)
    network = load_network() if resume and not checkpoints(folder) else DetectorNetwork()
    network = network.to(device).to(memory_format=torch.channels_last)
    start = SEEDS["detector-train"].start
    data = render_masked(range(start, start + scenes))
    seen = data.images if vae is None else round_trip(vae, data.images, device)
    trainer = Trainer(network, folder, steps, learning_rate, ema=0.998, decay=0.6)
    trainer.resume()

    def loss(generator: torch.Generator) -> torch.Tensor:
        images, labels, cover = (part.to(device) for part in _batch(data, seen, batch_size, generator))
        presence, cells = network(images.contiguous(memory_format=torch.channels_last))
        return F.binary_cross_entropy_with_logits(presence, labels) * len(OBJECTS) + F.binary_cross_entropy_with_logits(
            cells, cover
        ) * 4 * len(OBJECTS)

    trainer.run(loss, batch_size, "detector")
    with trainer.averaged():
        refresh = torch.Generator().manual_seed(0)
        update_bn((_batch(data, seen, 256, refresh)[0].to(device) for _ in range(20)), network)
        finished = {key: value.clone() for key, value in network.state_dict().items()}
    config = {"objects": list(OBJECTS), "width": network.width}
    write_weights(folder / "detector", finished, {CONFIG_FILE: config}, WEIGHTS_FILE)
    print(f"wrote {folder / 'detector'}")


def _batch(
    data: MaskedScenes, seen: np.ndarray, size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw images (n, 3, 64, 64) in [-1, 1], labels (n, 10) and cover (n, 10, 16, 16) in [0, 1].

    The second half of the images are as the autoencoder shows them; brightness and contrast vary a little.
    """
    rows = torch.randint(0, len(data.images), (size,), generator=generator).numpy()
    half = size // 2
    images = as_tensor(np.concatenate([data.images[rows[:half]], seen[rows[half:]]]))
    contrast = 1 + 0.08 * torch.randn(size, 1, 1, 1, generator=generator)
    brightness = 0.05 * torch.randn(size, 3, 1, 1, generator=generator)
    noise = 0.04 * torch.rand(size, 1, 1, 1, generator=generator) * torch.randn(images.shape, generator=generator)
    images = (images * contrast + brightness + noise).clamp(-1, 1)
    return images, torch.from_numpy(data.labels[rows]).float(), torch.from_numpy(data.cover[rows]).float() / _LEVELS


def render_masked(seeds: range) -> MaskedScenes:
    """Draw one scene per seed, on all cores, with its labels and masks."""
    parts = draw_seeds(_render_chunk, seeds, "scenes with masks")
    return MaskedScenes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _render_chunk(seeds: range) -> MaskedScenes:
    images, labels = [], []
    cover = np.zeros((len(seeds), len(OBJECTS), GRID, GRID), dtype=np.uint8)
    for row, seed in enumerate(seeds):
        rng = random.Random(f"scene {seed}")
        spec = sample_spec(rng)
        image, masks = draw(spec, rng)
        images.append(np.asarray(image))
        labels.append([name in spec.names for name in OBJECTS])
        for thing, mask in zip(spec.objects, masks, strict=True):
            cells = mask.reshape(GRID, _CELL, GRID, _CELL).sum(axis=(1, 3))
            cover[row, OBJECTS.index(thing.name)] += cells.astype(np.uint8)
    return MaskedScenes(np.stack(images), np.array(labels), cover)
