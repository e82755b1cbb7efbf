"""Moments of the pipeline's own runs, on which weights are fine-tuned: noisy latents and what was predicted there."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional as F

from dsas_diffusion.backends.diffusion import generate
from dsas_diffusion.errors import InputError
from dsas_diffusion.hooks.guidance import denoiser_of

from .calls import Call
from .texts import Text

#: The layers through which text enters: a U-Net's cross-attention, and a transformer's text side of joint attention.
TEXT_LAYERS: Final = re.compile(r"\.attn2\.(to_[qkv]|to_out\.0)$|\.attn\.(add_[qkv]_proj|to_add_out)$")


@dataclass(frozen=True)
class Moments:
    """n (picture, step) of runs under guidance, by the untouched model.

    Args:
        sample: (n, channels, height, width), noisy latents.
        timestep: (n,).
        prompt: (n,), which prompt was drawn.
        states: (n, tokens, channels), the prompt's text states.
        pooled: (n, channels), or (n, 0) where the denoiser takes none.
        empty: What was predicted for the empty prompt, like `sample`.
        text: What was predicted for the prompt, like `sample`.
    """

    sample: Tensor
    timestep: Tensor
    prompt: Tensor
    states: Tensor
    pooled: Tensor
    empty: Tensor
    text: Tensor

    def __len__(self) -> int:
        return len(self.sample)

    def at(self, rows: Tensor) -> "Moments":
        """Give some of them.

        Args:
            rows: Their numbers.
        """
        return Moments(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})

    def ask(self, denoiser: nn.Module, text: Text | None = None) -> Tensor:
        """Ask a denoiser at these moments.

        Args:
            denoiser: The U-Net or transformer.
            text: Another prompt for each, instead of the one that was drawn.
        """
        states, pooled = (self.states, self.pooled) if text is None else (text.states, text.pooled)
        takes = pooled is not None and pooled.shape[1] > 0
        return Call(self.sample, self.timestep, states, pooled if takes else None).ask(denoiser)


def moments_of(
    pipe: DiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    generation: Mapping[str, Any],
    batch_size: int,
    guidance: float,
) -> Moments:
    """Draw prompts under guidance, to latents only, and keep every step.

    Args:
        pipe: The pipeline; comes out as it went in.
        prompts: What is drawn.
        seeds: One a prompt.
        generation: Sampling settings.
        batch_size: Prompts a pipeline call.
        guidance: The guidance scale in the place of the settings' own.

    Raises:
        InputError: If it is no guidance.
    """
    if guidance <= 1:
        raise InputError(f"The runs to learn from need guidance: a scale above 1, but it is {guidance}. 3 is usual.")
    found: list[Moments] = []
    drawn = 0

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        call = Call.read(args, kwargs)
        half = len(call.sample) // 2
        empty, text = output[0].chunk(2)
        found.append(
            Moments(
                call.sample[half:],
                call.timestep.expand(half) if call.timestep.ndim == 0 else call.timestep[half:],
                torch.arange(drawn, drawn + half),
                call.states[half:],
                call.sample.new_zeros(half, 0) if call.pooled is None else call.pooled[half:],
                empty,
                text,
            )
        )

    settings = {**generation, "guidance_scale": guidance, "output_type": "latent"}
    handle = denoiser_of(pipe).register_forward_hook(keep, with_kwargs=True)
    try:
        for latents in generate(pipe, prompts, seeds, batch_size=batch_size, generation=settings):
            drawn += len(latents)
    finally:
        handle.remove()
    return Moments(**{one.name: torch.cat([getattr(each, one.name) for each in found]) for one in fields(Moments)})


def text_layers(denoiser: nn.Module) -> list[str]:
    """Give the names of the linear layers through which text enters.

    Args:
        denoiser: The U-Net or transformer.

    Raises:
        InputError: If there are none.
    """
    found = [name for name, _ in denoiser.named_modules() if TEXT_LAYERS.search(name)]
    if not found:
        raise InputError(f"A {type(denoiser).__name__} has no cross-attention or joint attention to fine-tune.")
    return found


def frozen_copy(denoiser: nn.Module) -> nn.Module:
    """Give a copy to fine-tune, so that the pipeline's own is never touched; nothing in it is trained yet.

    Args:
        denoiser: The U-Net or transformer.
    """
    return copy.deepcopy(denoiser).requires_grad_(False).eval()


@dataclass(frozen=True)
class Descent:
    """How weights are fitted to moments.

    Args:
        steps: Optimiser steps.
        batch: Moments a step.
        rate: Adam's learning rate.

    Raises:
        InputError: If one is not positive.
    """

    steps: int
    batch: int
    rate: float

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.rate <= 0:
            raise InputError(
                f"steps is {self.steps}, batch {self.batch} and rate {self.rate}; accepted are numbers above 0."
            )


def fitted(student: nn.Module, moments: Moments, goal: Tensor, descent: Descent, seed: int) -> None:
    """Fit whatever of a denoiser takes gradients: min |student(x_t, c) − goal|², on moments drawn at random.

    Args:
        student: The denoiser; it is changed in place.
        moments: n moments.
        goal: What it is to predict at each of them, like their samples.
        descent: How.
        seed: Of the draws.
    """
    optimiser = torch.optim.Adam([one for one in student.parameters() if one.requires_grad], lr=descent.rate)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(descent.steps):
        rows = torch.randint(len(moments), (descent.batch,), generator=generator)
        optimiser.zero_grad()
        with torch.enable_grad():
            F.mse_loss(moments.at(rows).ask(student), goal[rows]).backward()
        optimiser.step()
