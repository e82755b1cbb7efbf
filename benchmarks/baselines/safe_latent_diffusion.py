"""Safe Latent Diffusion: guidance away from a concept wherever the prediction goes towards it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from torch import Tensor, nn

from dsas_diffusion.errors import InputError
from dsas_diffusion.hooks.guidance import denoiser_of, steps_of
from dsas_diffusion.prompt_set import did_you_mean
from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import CallArguments, Conditions, Technique, as_asked

from .calls import Call
from .texts import Text, Words, checked_words, concept_words, encoded, remembered, require, text_settings

#: Steps of the runs that the presets' warm-up is counted in.
_PRESET_STEPS: Final = 50


@dataclass(frozen=True)
class Safety:
    """The numbers of safety guidance.

    Args:
        guidance: s_S, from 0.
        threshold: λ.
        warmup: δ, as a share of the run's steps.
        momentum: s_m, from 0 to 1.
        decay: β_m, from 0 to below 1.

    Raises:
        InputError: If one is out of range.
    """

    guidance: float
    threshold: float
    warmup: float
    momentum: float
    decay: float

    def __post_init__(self) -> None:
        if self.guidance < 0 or not (0 <= self.warmup <= 1 and 0 <= self.momentum <= 1 and 0 <= self.decay < 1):
            raise InputError(
                f"The safety guidance is {self}; accepted are a guidance from 0, warmup and momentum from 0 to 1, and "
                "a decay from 0 to below 1."
            )


#: The paper's, as Diffusers has them; their warm-up in steps of 50.
PRESETS: Final = {
    "weak": Safety(20, 0.0, 15 / _PRESET_STEPS, 0.0, 0.0),
    "medium": Safety(1000, 0.01, 10 / _PRESET_STEPS, 0.3, 0.4),
    "strong": Safety(2000, 0.025, 7 / _PRESET_STEPS, 0.5, 0.7),
    "max": Safety(5000, 1.0, 0.0, 0.5, 0.7),
}


def guided_away(text: Tensor, empty: Tensor, concept: Tensor, earlier: Tensor, safety: Safety) -> tuple[Tensor, Tensor]:
    """γ = μ ⊙ (c − u) + s_m ν,  μ = min(1, s_S |x − c|) where x − c < λ, else 0;  ν ← β_m ν + (1 − β_m) γ.

    Args:
        text: x, the prediction for the prompt; all alike in shape.
        empty: u, for the empty prompt.
        concept: c, for the concept's text.
        earlier: ν.
        safety: s_S, λ, s_m and β_m.

    Returns:
        γ, and the next ν.
    """
    scale = (safety.guidance * (text - concept).abs()).clamp(max=1)
    scale = torch.where(text - concept >= safety.threshold, torch.zeros_like(scale), scale)
    away = scale * (concept - empty) + safety.momentum * earlier
    return away, safety.decay * earlier + (1 - safety.decay) * away


class SafeLatentDiffusion(Technique):
    """u + g (x − u − γ),  γ = μ ⊙ (c − u) + s_m ν from step δ on,  μ = min(1, s · s_S |x − c|) where x − c < λ, else 0.

    x, u and c are the predictions for the prompt, for the empty one and for the concept's text, the third of which
    takes a row more of the denoiser for each picture; ν ← β_m ν + (1 − β_m) γ. As in Diffusers' pipeline this is done
    in whatever the denoiser predicts: for ε as in the paper, for v-prediction and flow matching, whose differences are
    those of ε times a number that depends on the step alone, with a scale of its own at every step. The pipeline's
    ordinary guidance does the rest, since x − γ is handed to it in the place of x. Without guidance it is refused.

    Args:
        preset: `"weak"`, `"medium"`, `"strong"` or `"max"`, as in the paper; the warm-up scales with the steps.
        words: `"label"`: the concept's text are the labels. `"source"`: whatever else only the source prompts call
            them, too.
        guidance: s_S in the place of the preset's. As it grows, μ comes to be 0 or 1, and s says little.
        threshold: λ in the place of the preset's.
        warmup: δ in the place of the preset's, as a share of the steps.
        momentum: s_m in the place of the preset's.
        decay: β_m in the place of the preset's.

    Raises:
        InputError: If a setting is unknown or out of range.

    Source: Safe Latent Diffusion: Mitigating Inappropriate Degeneration in Diffusion Models, arXiv 2211.05105,
    equations 3 to 8.
    """

    unit_strength: ClassVar[str] = "The preset's guidance scale s_S; where μ is 1 everywhere, more changes nothing."
    source: ClassVar[str] = "arXiv 2211.05105, equations 3 to 8"

    def __init__(
        self,
        preset: str = "max",
        words: Words = "source",
        guidance: float | None = None,
        threshold: float | None = None,
        warmup: float | None = None,
        momentum: float | None = None,
        decay: float | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise InputError(
                f"There is no preset {preset!r}.{did_you_mean(preset, PRESETS)} Choose from: {', '.join(PRESETS)}."
            )
        own = {"guidance": guidance, "threshold": threshold, "warmup": warmup, "momentum": momentum, "decay": decay}
        self.safety = replace(PRESETS[preset], **{name: value for name, value in own.items() if value is not None})
        self.words = checked_words(words)
        self.concept = ""
        self.encoding: dict[str, Any] = {}

    def prepare(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        require(pipe, conditions, "Safe Latent Diffusion", StableDiffusionPipeline, StableDiffusion3Pipeline)
        learned = remembered(folder, lambda: {"concept": ", ".join(concept_words(concepts, self.words))})
        self.concept = learned["concept"]
        self.encoding = text_settings(conditions.generation)

    @contextmanager
    def applied(self, pipe: DiffusionPipeline, strength: float) -> Generator[CallArguments]:
        if strength == 0:
            yield as_asked
            return
        safety = replace(self.safety, guidance=strength * self.safety.guidance)
        run = _Run(pipe, encoded(pipe, [self.concept], self.encoding), safety)
        denoiser = denoiser_of(pipe)
        handles = [
            denoiser.register_forward_pre_hook(run.with_concept, with_kwargs=True),
            denoiser.register_forward_hook(run.without_concept),
        ]
        try:
            yield as_asked
        finally:
            for handle in handles:
                handle.remove()


class _Run:
    """Momentum and step of the pipeline's running call; both begin anew at its first timestep."""

    def __init__(self, pipe: DiffusionPipeline, concept: Text, safety: Safety) -> None:
        self.pipe, self.concept, self.safety = pipe, concept, safety
        self.step = 0
        self.momentum: Tensor | None = None

    def with_concept(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Add a row for each picture that asks for the concept."""
        if not self.pipe.do_classifier_free_guidance:
            raise InputError(
                "Safe Latent Diffusion changes guidance, but there is none. Draw with a guidance_scale above 1."
            )
        call = Call.read(args, kwargs)
        if call.timestep.flatten()[0] == self.pipe.scheduler.timesteps[0]:
            self.step, self.momentum = 0, None
        pictures = len(call.sample) // 2
        states = self.concept.states.to(call.states.dtype).expand(pictures, -1, -1)
        more = Call(
            torch.cat([call.sample, call.sample[pictures:]]),
            torch.cat([call.timestep, call.timestep[pictures:]]) if call.timestep.ndim else call.timestep,
            torch.cat([call.states, states]),
        )
        if call.pooled is not None and self.concept.pooled is not None:
            pooled = self.concept.pooled.to(call.pooled.dtype).expand(pictures, -1)
            more = replace(more, pooled=torch.cat([call.pooled, pooled]))
        return more.written(kwargs)

    def without_concept(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> tuple[Tensor]:
        """Hand x − γ to the pipeline in the place of x."""
        empty, text, concept = output[0].chunk(3)
        earlier = torch.zeros_like(text) if self.momentum is None else self.momentum
        away, self.momentum = guided_away(text, empty, concept, earlier, self.safety)
        if self.step >= round(self.safety.warmup * steps_of(self.pipe)):
            text = text - away
        self.step += 1
        return (torch.cat([empty, text]),)
