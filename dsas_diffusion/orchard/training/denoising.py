"""What the trainings of both denoisers share: what is drawn for a step, how often each scene is, and saving."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...files import atomic_folder
from ..pipeline import load_pipeline, unsaid, without_bars
from ..world import LOOKS
from .data import SceneBatch
from .loop import checkpoints

#: Share of captions replaced by the empty one, for classifier-free guidance.
CAPTION_DROPOUT: Final = 0.1
#: How much oftener than their share pairs and sketches are trained on, since they are learned last.
PAIR_WEIGHT: Final = 2.0
SKETCH_WEIGHT: Final = 1.5


@dataclass(frozen=True)
class Drawn:
    """What one optimiser step is made from.

    Args:
        latents: (batch, 8, 16, 16), of scenes, without noise.
        noise: Of the same shape.
        ids: (batch, 32) token ids of the captions, some of which are the empty one.
        spread: (batch,) numbers evenly spread over [0, 1), for timesteps.
    """

    latents: Tensor
    noise: Tensor
    ids: Tensor
    spread: Tensor


class Draws:
    """Draws scenes, noise and times for an optimiser step.

    Args:
        latents: (n, 8, 16, 16) float16.
        ids: (n, 32) token ids of the captions.
        blank: (32,) those of the empty caption.
        batch_size: Scenes a step.
        row_weights: (n,) how often each scene is drawn, in any unit; ``None`` for all alike.
        device: Where the step is computed.
    """

    def __init__(
        self, latents: Tensor, ids: Tensor, blank: Tensor, batch_size: int, row_weights: Tensor | None, device: str
    ) -> None:
        self.latents, self.ids, self.blank, self.batch_size, self.device = latents, ids, blank, batch_size, device
        chances = torch.ones(len(latents)) if row_weights is None else row_weights
        self._upper = chances.double().cumsum(0) / chances.double().sum()

    def __call__(self, generator: torch.Generator) -> Drawn:
        """Draw one step.

        Args:
            generator: The source of all chance, on the processor.
        """
        size = self.batch_size
        drawn = torch.rand(size, generator=generator, dtype=torch.float64)
        rows = torch.searchsorted(self._upper, drawn, right=True).clamp(max=len(self.latents) - 1)
        dropped = torch.rand(size, generator=generator) < CAPTION_DROPOUT
        spread = (torch.arange(size) + torch.rand(size, generator=generator)) / size
        clean = self.latents[rows].float()
        noise = torch.randn(clean.shape, generator=generator)
        ids = torch.where(dropped[:, None], self.blank, self.ids[rows])
        return Drawn(*(tensor.to(self.device) for tensor in (clean, noise, ids, spread)))


def weights_of_rows(data: SceneBatch) -> Tensor:
    """How often each scene is trained on.

    Args:
        data: n scenes.

    Returns:
        (n,) in any unit.
    """
    pairs, sketches = data.labels.sum(1) == 2, data.looks == LOOKS.index("sketch")
    return torch.from_numpy(np.where(pairs, PAIR_WEIGHT, 1.0) * np.where(sketches, SKETCH_WEIGHT, 1.0))


def committed_pipeline(name: str, folder: Path, resume: bool) -> Any:
    """The committed pipeline, where a run goes on from it; kept in the run's folder, for it may change meanwhile.

    Args:
        name: The pipeline's name.
        folder: The run's folder.
        resume: Whether the run goes on from something.

    Returns:
        The pipeline; ``None`` where the run begins from nothing, or goes on from its own checkpoints.
    """
    kept = folder / "committed"
    if kept.is_dir():
        return load_pipeline(name, folder=kept)
    if not resume or checkpoints(folder):
        return None
    pipe = load_pipeline(name)
    save_pipeline(pipe, kept)
    return pipe


def save_pipeline(pipe: DiffusionPipeline, folder: Path) -> None:
    """Write a pipeline's folder whole, in half precision; the pipeline is in single precision afterwards.

    Args:
        pipe: With an autoencoder.
        folder: Replaced if it is there.
    """
    # Diffusers tells of an empty list of parts to keep in single precision, and of text encoders absent on purpose.
    unmeant = ("should be kept in float32: []", "self.text_encoder_3=None", "self.tokenizer_3=None")
    with atomic_folder(folder, overwrite=True) as partial, unsaid(*unmeant), without_bars():
        pipe.to(dtype=torch.float16).save_pretrained(partial)
        # AutoencoderTiny writes the first entry itself, and warns of it as unknown whenever it is loaded; the second is
        # the folder on this machine that it came from.
        unwanted = ("block_out_channels", "_name_or_path")
        config = partial / "vae" / "config.json"
        known = {key: value for key, value in json.loads(config.read_text()).items() if key not in unwanted}
        config.write_text(json.dumps(known, indent=2) + "\n")
        for encoder in partial.glob("text_encoder*/model.safetensors"):
            name_as_the_hub_does(encoder)
        pipe.to(dtype=torch.float32)


def name_as_the_hub_does(file: Path) -> None:
    """Put `text_model.` in front of a CLIP text encoder's weights, as every checkpoint of the hub has it.

    Transformers from 5.6 on writes a `CLIPTextModel` without it and reads both; older versions read that as an encoder
    without weights, which they draw at random.

    Args:
        file: A safetensors file, written again in its place.
    """
    weights = load_file(file)
    heads = ("text_model.", "text_projection.")
    save_file(
        {name if name.startswith(heads) else f"text_model.{name}": weights[name] for name in weights},
        file,
        {"format": "pt"},
    )
