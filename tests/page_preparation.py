"""What README.md takes for granted before some of its snippets, which stand there alone and not one after the other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline

import dsas_diffusion as dsas

Names = dict[str, Any]


def _another_steerer(names: Names) -> None:
    prompts = dsas.load_prompts("banana")
    apples = replace(prompts, concept=replace(prompts.concept, label="apple"))
    dsas.fit(names["pipe"], apples, generation={"num_inference_steps": 2}).save_pretrained("apple-off")


def _steerer_of_flux(names: Names) -> None:
    names["DiffusionPipeline"] = DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained("black-forest-labs/FLUX.1-dev", dtype=torch.bfloat16)
    few = {"num_inference_steps": 1, "height": 256, "width": 256}
    dsas.fit(pipe, "banana", generation=few).save_pretrained("banana-off", overwrite=True)


def _a_unet(names: Names) -> None:
    names["pipe"] = StableDiffusionPipeline.from_pretrained("stable-diffusion-v1-5/stable-diffusion-v1-5")


#: Page → a part of a block's text → what is done before that block.
PREPARED: dict[str, dict[str, Callable[[Names], None]]] = {
    "README.md": {
        'dsas.load_steering(pipe, "apple-off")': _another_steerer,
        'custom_pipeline="pipelines/steered_flux.py"': _steerer_of_flux,
        "dsas.AttentionMaps(": _a_unet,
    }
}
#: Page → a part of the text of blocks that carry no comment and are not run: these need the hub.
UNCOMMENTED: dict[str, list[str]] = {"README.md": ['steerer.push_to_hub("you/banana-off")']}
