"""The baselines that the contract tests run over, and what they are prepared with."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from tiny import GENERATION, tiny_concept, tiny_pipeline
from untrained import untrained_dit

from dsas_diffusion.prompts import Concept, Prompt, PromptSet
from dsas_diffusion.sweeps.plan import Entry
from dsas_diffusion.sweeps.technique import Conditions, Technique

ON_DIT = {"num_inference_steps": 2, "guidance_scale": 4.0, "max_sequence_length": 1}


@dataclass(frozen=True)
class Case:
    """A baseline as a plan names it.

    Args:
        use: `file:Class` under `benchmarks.baselines`.
        settings: What it is made with, for a tiny pipeline.
        dit: Whether it works on Stable Diffusion 3's pipeline.
        refuses: Whether some pipelines are refused.
    """

    use: str
    settings: dict[str, Any] = field(default_factory=dict)
    dit: bool = False
    refuses: bool = True

    def make(self) -> Technique:
        """Make it, unprepared."""
        return Entry(use=f"benchmarks.baselines.{self.use}", settings=self.settings).make()

    def prepared(self, pipe: Any, folder: Path, seed: int = 0, **settings: Any) -> Technique:
        """Make and prepare it on two concepts."""
        technique = self.make()
        conditions = Conditions(seed=seed, batch_size=3, generation={**settings})
        technique.prepare(pipe, [tiny_concept(), other_concept()], conditions, folder)
        return technique


CASES = [
    Case("negative_prompt:NegativePrompt", dit=True),
    Case("word_removal:WordRemoval", dit=True, refuses=False),
    Case("uce:Uce"),
    Case("safree:Safree", {"mask": "q", "tolerance": -0.5}),  # so that random weights find triggers
    Case("safe_latent_diffusion:SafeLatentDiffusion", dit=True),
    Case("esd:Esd", {"runs": 4, "steps": 3, "batch": 2, "rate": 0.1}, dit=True),
    Case("lora_slider:LoraSlider", {"runs": 4, "steps": 3, "batch": 2, "rate": 0.1}, dit=True),
]


def other_concept() -> PromptSet:
    """A second concept, whose prompts the tiny tokenizer reads as well."""
    source = tuple(Prompt(f"yyy pipi {letter}", ("yyy",)) for letter in "zuxvy")
    target = tuple(Prompt(f"ccc pipi {letter}") for letter in "zuwqk")
    control = tuple(Prompt(f"nnn oror {letter} b") for letter in "abcdef")
    return PromptSet("other", source, target, control, Concept("yyy", "a photo of yyy"), twins=True)


def host(dit: bool) -> tuple[Any, dict[str, Any]]:
    """A pipeline of one kind, and how it draws."""
    return (untrained_dit(small=True), ON_DIT) if dit else (tiny_pipeline(), GENERATION)


def foreign() -> DDPMPipeline:
    """A pipeline without prompts, for which no baseline is that learns anything."""
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    return DDPMPipeline(unet=UNet2DModel(sample_size=8, norm_num_groups=4, **blocks), scheduler=DDPMScheduler())


def draw(pipe: Any, arguments: Any, generation: dict[str, Any], prompts: list[str]) -> torch.Tensor:
    """Pictures as one tensor, each from its own seed."""
    generators = [torch.Generator().manual_seed(index) for index in range(len(prompts))]
    pipe.set_progress_bar_config(disable=True)
    return pipe(generator=generators, output_type="pt", **{**generation, **arguments(prompts)}).images
