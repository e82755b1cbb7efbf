"""A sheet of a pipeline's own pictures, for looking at them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import torch

from ..evaluation.report import contact_sheet
from ..files import atomic_write
from .pipeline import load_pipeline
from .world import IMAGE_SIZE, SEEDS

#: One prompt for each object, then pairs, looks, an unnamed one and an empty table.
PROMPTS: Final = (
    "a photo of a banana",
    "a red apple on a blue table",
    "a green pear",
    "a photo of an orange on a grey table",
    "a big lemon on a wooden table",
    "a bunch of purple grapes",
    "a strawberry on a green table",
    "a photo of a carrot",
    "a white cup on a pink table",
    "a blue book on a wooden table",
    "a banana and an apple",
    "a pear to the left of a cup on a blue table",
    "a blurry photo of a banana",
    "a sketch of a strawberry",
    "a long curved yellow fruit on a green table",
    "an empty wooden table",
)


def write_samples(file: Path, name: str = "unet", folder: str | Path | None = None, scale: int = 4) -> None:
    """Draw sixteen prompts with the pipeline's own defaults, and write them as one PNG with their prompts.

    Args:
        file: The PNG.
        name: The pipeline, ``"unet"`` or ``"dit"``.
        folder: The pipeline's folder; ``None`` for the committed one.
        scale: How many times the pictures are enlarged.

    Raises:
        InputError: If there is no such pipeline, its weights are missing or broken, or the file can't be written.
    """
    pipe = load_pipeline(name, folder=folder)
    first = SEEDS["evaluation"].start
    generators = [torch.Generator().manual_seed(first + number) for number in range(len(PROMPTS))]
    images = pipe(list(PROMPTS), generator=generators).images
    rows = [(prompt, [image]) for prompt, image in zip(PROMPTS, images, strict=True)]
    buffer = io.BytesIO()
    contact_sheet(rows, [""], across=4, side=scale * IMAGE_SIZE).save(buffer, format="PNG")
    atomic_write(file, buffer.getvalue())
