"""Draws prompts into a folder: numbered pictures, their prompts beside them, with steering and without."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .backends.diffusion import generate
from .hooks.attachment import Attachment
from .hooks.steerer import Steerer
from .prompts import Prompt

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline


def draw(
    pipe: "DiffusionPipeline",
    prompts: Sequence[Prompt],
    first: int,
    folder: Path,
    generation: Mapping[str, Any],
    batch_size: int = 16,
) -> None:
    """Draw one picture a prompt, the i-th from seed `first + i`, to `000.png`, `001.png` and so on.

    Args:
        pipe: The pipeline, steered or not.
        prompts: What to draw.
        first: The first seed.
        folder: Where to; made here.
        generation: Sampling settings.
        batch_size: Prompts a pipeline call.
    """
    folder.mkdir(parents=True)
    texts, seeds = [prompt.text for prompt in prompts], range(first, first + len(prompts))
    index = 0
    with tqdm(total=len(texts), desc="/".join(folder.parts[-2:]), unit="picture", disable=None, leave=False) as bar:
        for images in generate(pipe, texts, seeds, batch_size=batch_size, generation=generation):
            for image in images:
                image.save(folder / f"{index:03d}.png")
                index += 1
            bar.update(len(images))


def draw_twins(
    pipe: "DiffusionPipeline",
    steerer: Steerer,
    prompts: Sequence[Prompt],
    first: int,
    folder: Path,
    generation: Mapping[str, Any],
    batch_size: int = 16,
    **attached: Any,
) -> Attachment:
    """Draw prompts from the same seeds into `unsteered/` and `steered/`, and write `prompts.jsonl` beside them.

    Args:
        pipe: The pipeline; unsteered before and after.
        steerer: What to attach.
        prompts: What to draw.
        first: The first seed.
        folder: Where to.
        generation: Sampling settings.
        batch_size: Prompts a pipeline call.
        **attached: As for `Steerer.attached`.

    Returns:
        The finished attachment, with what it recorded.
    """
    with steerer.attached(pipe, **attached) as run:  # first, since a wrong argument is refused here
        draw(pipe, prompts, first, folder / "steered", generation, batch_size)
    draw(pipe, prompts, first, folder / "unsteered", generation, batch_size)
    write_prompts(prompts, folder)
    return run


def write_prompts(prompts: Sequence[Prompt], folder: Path) -> None:
    """Write `prompts.jsonl`: a row a picture, with the picture's file name."""
    rows = (
        {"file": f"{index:03d}.png", "prompt": prompt.text, "labels": prompt.labels, "named": prompt.named}
        for index, prompt in enumerate(prompts)
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")
