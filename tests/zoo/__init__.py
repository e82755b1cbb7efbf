"""A zoo of tiny pipelines: real Diffusers classes, random weights, built in memory, and what is known of them."""

import torch
from diffusers import DiffusionPipeline

from . import flux, held_back, transformers, unets, video
from .family import Family

__all__ = ["FAMILIES", "Family", "draw", "pictures"]

FAMILIES = {
    family.name: family
    for module in (unets, transformers, flux, video, held_back)
    for family in vars(module).values()
    if isinstance(family, Family)
}


def draw(
    family: Family, pipe: DiffusionPipeline, prompts: list[str], seed: int = 0, **settings: object
) -> torch.Tensor:
    """Pictures or videos as one tensor, each from its own seed; `settings` override the family's."""
    settings = {**family.generation, **pictures(family), **settings}
    count = len(prompts) * settings.get("num_images_per_prompt", settings.get("num_videos_per_prompt", 1))
    if isinstance(settings.get("negative_prompt"), str):
        settings["negative_prompt"] = [settings["negative_prompt"]] * len(prompts)
    generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    # A copy, since one pipeline writes into the list it is given.
    return pipe(prompt=list(prompts), generator=generators, output_type="pt", **settings)[0]


def pictures(family: Family) -> dict[str, torch.Tensor]:
    """The pictures that the family starts from: a shade that grows both ways, to be painted anew in its left half."""
    height, width = 24, 16
    shade = torch.linspace(0, 1, height)[:, None] * torch.linspace(0.2, 1, width)
    half = (torch.arange(width) < width // 2).float().expand(1, 1, height, width)
    known = {"image": shade.expand(1, 3, height, width), "mask_image": half}
    return {name: known[name] for name in family.pictures}
