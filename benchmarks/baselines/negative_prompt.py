"""The negative prompt: what Diffusers itself offers to keep something out of a picture."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

from dsas_diffusion.prompts import PromptSet
from dsas_diffusion.sweeps.technique import CallArguments, Conditions, Technique, as_asked

from .texts import Words, checked_words, concept_words, encoded, remembered, require, text_settings


class NegativePrompt(Technique):
    """e = e(“”) + s (e(concepts) − e(“”)), in the place of the empty prompt that guidance leads away from.

    Several names are joined by commas. It needs guidance: at a guidance scale of 1 or less it changes nothing.

    Args:
        words: `"label"`: the concepts' labels. `"source"`: whatever else only the source prompts call them, too.

    Raises:
        InputError: If a setting is unknown.

    Source: `negative_prompt` of Diffusers' pipelines; guidance as in Classifier-Free Diffusion Guidance,
    arXiv 2207.12598. Going on beyond s = 1 is ours.
    """

    unit_strength: ClassVar[str] = "Diffusers' negative prompt; more goes on in the same direction."
    source: ClassVar[str] = "negative_prompt of Diffusers' pipelines"

    def __init__(self, words: Words = "label") -> None:
        self.words = checked_words(words)
        self.negative = ""
        self.encoding: dict[str, Any] = {}

    def prepare(
        self, pipe: DiffusionPipeline, concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        require(pipe, conditions, "The negative prompt", StableDiffusionPipeline, StableDiffusion3Pipeline)
        self.negative = remembered(folder, lambda: {"negative": ", ".join(concept_words(concepts, self.words))})[
            "negative"
        ]
        self.encoding = text_settings(conditions.generation)

    @contextmanager
    def applied(self, pipe: DiffusionPipeline, strength: float) -> Generator[CallArguments]:
        if strength == 0:
            yield as_asked
            return
        empty, negative = (encoded(pipe, [text], self.encoding) for text in ("", self.negative))
        states = torch.lerp(empty.states, negative.states, strength)
        pooled = None
        if empty.pooled is not None and negative.pooled is not None:
            pooled = torch.lerp(empty.pooled, negative.pooled, strength)

        def arguments(texts: Sequence[str]) -> Mapping[str, Any]:
            own = {"prompt": list(texts), "negative_prompt_embeds": states.expand(len(texts), -1, -1)}
            if pooled is not None:
                own["negative_pooled_prompt_embeds"] = pooled.expand(len(texts), -1)
            return own

        yield arguments
