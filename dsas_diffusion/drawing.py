"""Draws prompts into a folder: numbered pictures, their prompts beside them, with steering and without."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image
from tqdm import tqdm

from .backends.diffusion import generate
from .evaluation.gate_pictures import overlay
from .evaluation.report import contact_sheet
from .files import atomic_folder
from .hooks.attachment import Attachment
from .hooks.card import Card
from .hooks.steerer import Steerer
from .prompts import Prompt, PromptSet

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

#: The sheet of all pictures, in a folder of drawings.
GRID: Final = "grid.png"
_DRAWN: Final = ("steered", "unsteered", "prompts.jsonl", GRID, "gates.png")
#: Longest side of a picture on a model card's sheet, in pixels.
_ON_CARD: Final = 256


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


def draw_into(
    out: str | Path,
    pipe: "DiffusionPipeline",
    steerer: Steerer,
    prompts: Sequence[Prompt],
    first: int,
    generation: Mapping[str, Any],
    batch_size: int = 16,
    twins: bool = True,
    gates: bool = False,
    **attached: Any,
) -> None:
    """Draw prompts with a steerer attached into a folder of their own, with a sheet of all pictures.

    Args:
        out: The folder: `steered/`, `unsteered/`, `prompts.jsonl`, `grid.png` and `gates.png`; earlier ones there are
            replaced, all of them or, on any error, none.
        pipe: The pipeline; unsteered before and after.
        steerer: What to attach.
        prompts: What to draw.
        first: The first seed.
        generation: Sampling settings.
        batch_size: Prompts a pipeline call.
        twins: Draw them without steering, too.
        gates: Draw where the gates were open.
        **attached: As for `Steerer.attached`.

    Raises:
        InputError: As for `Steerer.attached`, or if the folder holds anything else.
    """
    with atomic_folder(out, overwrite=_DRAWN) as folder:
        if twins:
            run = draw_twins(
                pipe, steerer, prompts, first, folder, generation, batch_size, record_gates=gates, **attached
            )
        else:
            with steerer.attached(pipe, record_gates=gates, **attached) as run:
                draw(pipe, prompts, first, folder / "steered", generation, batch_size)
            write_prompts(prompts, folder)
        sides = ("unsteered", "steered") if twins else ("steered",)
        drawn = [
            (prompt.text, [Image.open(folder / side / f"{index:03d}.png") for side in sides])
            for index, prompt in enumerate(prompts)
        ]
        contact_sheet(drawn, sides, across=min(3, len(drawn))).save(folder / GRID)
        if gates:
            overlay(drawn, sides, run).save(folder / "gates.png")


def write_prompts(prompts: Sequence[Prompt], folder: Path) -> None:
    """Write `prompts.jsonl`: a row a picture, with the picture's file name."""
    rows = (
        {"file": f"{index:03d}.png", "prompt": prompt.text, "labels": prompt.labels, "named": prompt.named}
        for index, prompt in enumerate(prompts)
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")


def pictured_card(
    pipe: "DiffusionPipeline",
    steerer: Steerer,
    prompts: PromptSet,
    *,
    each: int = 2,
    seed: int = 2_000_000,
    batch_size: int = 16,
) -> Card:
    """Draw a few prompts without steering and with it, and give the steerer's card with that picture.

    The prompts are the set's tuning prompts (source, mixed, control), or, where it has none, those of the fit; the
    caption says which. Keep the result with `steerer.card = pictured_card(...)`.

    Args:
        pipe: The pipeline that the steerer was fitted on; it comes out as it went in.
        steerer: The steerer, at its own strength and with the sampling settings of its fit.
        prompts: The prompt set.
        each: How many prompts of each kind.
        seed: First seed of the pictures.
        batch_size: Prompts a pipeline call.
    """
    kinds = prompts.tuning or {"source": prompts.source, "control": prompts.control}
    rows = [(kind, prompt.text) for kind in ("source", "mixed", "control") for prompt in kinds.get(kind, ())[:each]]
    texts, seeds = [text for _, text in rows], range(seed, seed + len(rows))
    sides = []
    for strength in (0.0, None):
        with steerer.attached(pipe, strength):
            batches = generate(pipe, texts, seeds, batch_size=batch_size, generation=steerer.manifest["generation"])
            sides.append([_small(image) for images in batches for image in images])
    drawn = [(f"{kind}: {text}", pair) for (kind, text), *pair in zip(rows, *sides, strict=True)]
    seen = "tuning prompts" if prompts.tuning else "prompts that the fit has seen"
    caption = (
        f"{seen} of {prompts.name}, drawn from the same seeds without steering and with it (λ = {steerer.strength:g})."
    )
    sheet = contact_sheet(drawn, ("unsteered", "steered"), across=min(3, len(drawn)))
    return replace(steerer.card, picture=sheet, caption=caption[0].upper() + caption[1:])


def _small(drawn: Any) -> Image.Image:
    still = drawn if isinstance(drawn, Image.Image) else drawn[len(drawn) // 2]  # of a video, its middle frame
    still = still.convert("RGB")
    still.thumbnail((_ON_CARD, _ON_CARD))
    return still
