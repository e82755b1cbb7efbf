"""A small plan on Orchard's U-Net, two steps a picture, and a count of the pictures that pipelines draw."""

import functools
from pathlib import Path

from diffusers import StableDiffusionPipeline

from dsas_diffusion.cli import main

PLAN = """
title: A small sweep
tasks:
  banana: {concepts: [orchard/banana]}
techniques:
  gated: {settings: {method: caa, gate: image_mean, prompts: 6}}
  vanilla: {settings: {method: caa, gate: always, prompts: 6}, title: CAA alone}
generation: {num_inference_steps: 2, guidance_scale: 7.5}
clip: none
grid: {lowest: 1.0, highest: 4.0, around: [0.5, 1.0]}
pictures: {tuning: 3, heldout: 5, kept: 2}
seeds: 1
batch_size: 3
cost: false
"""


class Calls:
    """Counts the pictures of every pipeline call, and stops like Ctrl-C before one of them."""

    def __init__(self, patch) -> None:
        self.drawn: list[int] = []
        self.stop_at: int | None = None
        draw = StableDiffusionPipeline.__call__

        @functools.wraps(draw)
        def counted(pipe, *args, **settings):
            if len(self.drawn) == self.stop_at:
                raise KeyboardInterrupt
            self.drawn.append(len(settings["generator"]))
            return draw(pipe, *args, **settings)

        patch.setattr(StableDiffusionPipeline, "__call__", counted)

    def sweep(self, plan: Path, out: Path, *options: str, stop_at: int | None = None) -> tuple[int, list[int]]:
        """Run the command; its status, and how many pictures each call drew."""
        self.drawn, self.stop_at = [], stop_at
        status = main(["sweep", "--plan", str(plan), "--out", str(out), "--device", "cpu", *options])
        return status, self.drawn
