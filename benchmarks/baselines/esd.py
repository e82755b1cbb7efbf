"""Erased Stable Diffusion: cross-attention fine-tuned to predict what guides away from the concept."""

from collections.abc import Sequence
from typing import ClassVar

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from torch import Tensor

from dsas_diffusion.errors import InputError
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import Conditions

from .moments import Descent, Moments, fitted, frozen_copy, moments_of, text_layers
from .texts import alternating
from .weights import WeightEdit


def goal_of(moments: Moments, eta: float) -> Tensor:
    """ε*(x) − η (ε*(x, c) − ε*(x)), which guides away from the prompt.

    Args:
        moments: Where, with both predictions.
        eta: η.
    """
    return moments.empty - eta * (moments.text - moments.empty)


class Esd(WeightEdit):
    """min |ε_θ(x_t, c) − (ε*(x_t) − η (ε*(x_t, c) − ε*(x_t)))|² over cross-attention;  W ← W* + s (W_θ − W*).

    ESD-x: ε* is the untouched model, c are the source prompts, x_t all steps of its own runs of them under guidance. As
    in the authors' newest code it is the untouched model that draws. There a new run is drawn for every optimiser step;
    here moments of the same few runs, drawn before, come again, which is what makes it short. With
    v-prediction and flow matching the loss is on what the denoiser predicts: as x_t is the same on both sides, ε and v
    differ by a number that depends on the step alone, so the minimum at each step is the same, and steps weigh
    otherwise. Of Stable Diffusion 3 the text side of joint attention is trained, which is ours.

    Args:
        eta: η, the negative guidance.
        guidance: Guidance scale of the runs.
        runs: Pictures that are drawn, from the source prompts in turn.
        steps: Optimiser steps.
        batch: Moments a step.
        rate: Adam's learning rate.

    Raises:
        InputError: If a setting is out of range.

    Source: Erasing Concepts from Diffusion Models, arXiv 2303.07345, the objective of ESD-x.
    """

    unit_strength: ClassVar[str] = "The fine-tuned weights; more goes on along their change."
    source: ClassVar[str] = "arXiv 2303.07345, the objective of ESD-x"
    called: ClassVar[str] = "ESD"
    kinds: ClassVar[tuple[type[DiffusionPipeline], ...]] = (StableDiffusionPipeline, StableDiffusion3Pipeline)

    def __init__(
        self,
        eta: float = 1.0,
        guidance: float = 3.0,
        runs: int = 32,
        steps: int = 200,
        batch: int = 8,
        rate: float = 1e-4,
    ) -> None:
        super().__init__()
        self.descent = Descent(steps, batch, rate)
        if eta <= 0 or runs < 1:
            raise InputError(f"eta is {eta} and runs {runs}; accepted are numbers above 0.")
        self.eta, self.guidance, self.runs = eta, guidance, runs

    def learned(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions
    ) -> dict[str, Tensor]:
        """Give W_θ − W* of cross-attention's linear layers.

        Args:
            pipe: The pipeline.
            concepts: What is erased together.
            conditions: Seed and sampling settings.
        """
        texts = alternating([one.texts("source") for one in concepts])
        prompts = [texts[number % len(texts)] for number in range(self.runs)]
        seeds = range(conditions.seed, conditions.seed + self.runs)
        moments = moments_of(pipe, prompts, seeds, conditions.generation, conditions.batch_size, self.guidance)
        goal = goal_of(moments, self.eta)
        original = denoiser_of(pipe)
        student = frozen_copy(original)
        layers = text_layers(student)
        trained = {name: one for name, one in student.named_parameters() if name.rpartition(".")[0] in layers}
        for parameter in trained.values():
            parameter.requires_grad_(True)
        fitted(student, moments, goal, self.descent, conditions.seed)
        before = dict(original.named_parameters())
        return {name: parameter.detach().float() - before[name].detach().float() for name, parameter in trained.items()}
