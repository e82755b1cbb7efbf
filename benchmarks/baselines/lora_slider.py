"""Concept Sliders: a small LoRA that moves the prediction away from the concept, at any scale."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, get_args

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from dsas_diffusion.errors import InputError
from dsas_diffusion.files import atomic_folder
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import CallArguments, Conditions, Technique, as_asked

from .moments import Descent, Moments, fitted, frozen_copy, moments_of, text_layers
from .texts import Text, alternating, encoded, require, text_settings

Given = Literal["source", "target", "both"]
_NAME: Final = "slider"
_FILE: Final = "lora.safetensors"
#: Moments that are asked at a time before the training.
_AT_ONCE: Final = 64


class LoraSlider(Technique):
    """min |ε_θ(x_t, c) − (ε*(x_t, c) − η (ε*(x_t, c₊) − ε*(x_t, c₋)))|² over A and B;  W = W* + s B A.

    c₊ are the source prompts, c₋ the target prompt of the same place, c either of them or both, x_t all steps of the
    untouched model's own runs of c under guidance. The slider is trained in the direction that suppresses: s > 0 is
    what the paper calls the negative direction. As for ESD the runs are drawn once, before the training (the authors
    draw one for every optimiser step, with the slider in place), and the loss is on what the denoiser predicts. Their
    LoRA for text sliders leaves out cross-attention and trains about everything else; here it is on cross-attention
    alone (of Stable Diffusion 3, on the text side of joint attention), as α = r = 4.

    Args:
        eta: η.
        given: Which prompts c are.
        rank: Of the LoRA.
        guidance: Guidance scale of the runs.
        runs: Pictures that are drawn.
        steps: Optimiser steps.
        batch: Moments a step.
        rate: Adam's learning rate.

    Raises:
        InputError: If a setting is unknown or out of range.

    Source: Concept Sliders: LoRA Adaptors for Precise Control in Diffusion Models, arXiv 2311.12092, the objective for
    text; the LoRA is `peft`'s.
    """

    unit_strength: ClassVar[str] = "The LoRA's scale that it was trained at; more goes on along it."
    source: ClassVar[str] = "arXiv 2311.12092, the objective for text"

    def __init__(
        self,
        eta: float = 1.0,
        given: Given = "source",
        rank: int = 4,
        guidance: float = 3.0,
        runs: int = 32,
        steps: int = 200,
        batch: int = 8,
        rate: float = 2e-3,
    ) -> None:
        self.descent = Descent(steps, batch, rate)
        if eta <= 0 or runs < 1 or rank < 1:
            raise InputError(f"eta is {eta}, runs {runs} and rank {rank}; accepted are numbers above 0.")
        if given not in get_args(Given):
            raise InputError(f"given must be one of {', '.join(map(repr, get_args(Given)))}, but is {given!r}.")
        self.eta, self.given, self.rank, self.guidance, self.runs = eta, given, rank, guidance, runs

        self.state: dict[str, Tensor] = {}

    def prepare(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        require(pipe, conditions, "The LoRA slider", StableDiffusionPipeline, StableDiffusion3Pipeline)
        _refuse_others(denoiser_of(pipe))
        if not folder.is_dir():
            learned = self.learned(pipe, concepts, conditions)
            with atomic_folder(folder) as temporary:
                save_file(learned, temporary / _FILE)
        self.state = load_file(folder / _FILE)

    def learned(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions
    ) -> dict[str, Tensor]:
        """Train the LoRA.

        Args:
            pipe: The pipeline.
            concepts: What is suppressed together.
            conditions: Seed and sampling settings.

        Returns:
            The LoRA's state, as `peft` names it.

        Raises:
            InputError: If a concept has no target prompts.
        """
        pairs = _pairs(concepts)
        shown, instead = ([pairs[number % len(pairs)][side] for number in range(self.runs)] for side in (0, 1))
        whole = {"source": [True], "target": [False], "both": [True, False]}[self.given]
        drawn = [(shown if whole[n % len(whole)] else instead)[n // len(whole)] for n in range(self.runs)]
        of_pair = torch.tensor([n // len(whole) for n in range(self.runs)])
        seeds = range(conditions.seed, conditions.seed + self.runs)
        moments = moments_of(pipe, drawn, seeds, conditions.generation, conditions.batch_size, self.guidance)
        settings = text_settings(conditions.generation)
        with_it, without = (encoded(pipe, texts, settings) for texts in (shown, instead))
        original = denoiser_of(pipe)
        goal = goal_of(original, moments, _at(with_it, of_pair[moments.prompt]), _at(without, of_pair[moments.prompt]),
                       self.eta)  # fmt: skip
        student: Any = frozen_copy(original)
        with torch.random.fork_rng():
            torch.manual_seed(conditions.seed)
            student.add_adapter(self._config(student), adapter_name=_NAME)
        fitted(student, moments, goal, self.descent, conditions.seed)
        state = get_peft_model_state_dict(student, adapter_name=_NAME)
        return {name: tensor.detach().float().contiguous() for name, tensor in state.items()}

    def _config(self, denoiser: Any) -> LoraConfig:
        return LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=text_layers(denoiser))

    @contextmanager
    def applied(self, pipe: DiffusionPipeline, strength: float) -> Generator[CallArguments]:
        if strength == 0:
            yield as_asked
            return
        denoiser: Any = denoiser_of(pipe)
        _refuse_others(denoiser)
        before, trainable = set(vars(denoiser)), {name: one.requires_grad for name, one in denoiser.named_parameters()}
        try:
            with torch.random.fork_rng():  # the LoRA is drawn before it is filled
                denoiser.add_adapter(self._config(denoiser), adapter_name=_NAME)
            set_peft_model_state_dict(denoiser, self.state, adapter_name=_NAME)
            denoiser.set_adapters([_NAME], [strength])
            yield as_asked
        finally:
            denoiser.unload_lora()
            for name in set(vars(denoiser)) - before:  # what unloading leaves says that there is no LoRA, as before
                delattr(denoiser, name)
            for name, parameter in denoiser.named_parameters():
                parameter.requires_grad_(trainable[name])


@torch.no_grad()
def goal_of(denoiser: Any, moments: Moments, shown: Text, instead: Text, eta: float) -> Tensor:
    """ε*(x, c) − η (ε*(x, c₊) − ε*(x, c₋)).

    Args:
        denoiser: The untouched model.
        moments: n moments of c.
        shown: c₊ for each of them.
        instead: c₋ for each.
        eta: η.

    Returns:
        Like the moments' samples.
    """
    found = []
    for rows in torch.arange(len(moments)).split(_AT_ONCE):
        part = moments.at(rows)
        away = part.ask(denoiser, _at(shown, rows)) - part.ask(denoiser, _at(instead, rows))
        found.append(part.text - eta * away)
    return torch.cat(found)


def _at(text: Text, rows: Tensor) -> Text:
    return Text(text.states[rows], None if text.pooled is None else text.pooled[rows])


def _pairs(concepts: Sequence[PromptSet]) -> list[tuple[str, str]]:
    for concept in concepts:
        if not concept.target:
            raise InputError(
                f"The slider learns from source to target prompts, but the prompt set {concept.name!r} has no target "
                "prompts. Add some, or leave the technique out of the task."
            )
    own = [
        [(source.text, one.target[number % len(one.target)].text) for number, source in enumerate(one.source)]
        for one in concepts
    ]
    return alternating(own)


def _refuse_others(denoiser: Any) -> None:
    if getattr(denoiser, "peft_config", None):
        raise InputError(
            f"The denoiser carries LoRAs already ({', '.join(denoiser.peft_config)}), which would go when the slider "
            "does. Unload them, or fuse them, first."
        )
