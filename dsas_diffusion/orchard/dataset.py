"""Rendered scenes as files: a folder that Hugging Face's imagefolder loader reads, and a contact sheet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..evaluation.report import contact_sheet
from ..files import atomic_folder
from .scenes import Scene, render
from .specs import sample_spec
from .world import OBJECTS

#: Most scenes on a contact sheet.
SHEET: Final = 64
#: What a rendered folder holds, and may be overwritten.
ENTRIES: Final = ("images", "masks", "metadata.jsonl", "sheet.png")


def scenes(seeds: range, objects: Sequence[str] = OBJECTS, look: str | None = None) -> Iterator[Scene]:
    """Draw one scene per seed.

    Args:
        seeds: Scene seeds.
        objects: The objects that may appear.
        look: The look that every scene takes; ``None`` for Orchard's mix. ``"blurry"`` blurs the whole picture.
    """
    for seed in seeds:
        spec = sample_spec(random.Random(f"scene {seed}"), tuple(objects))
        if look is not None:
            things = tuple(replace(thing, blurred=False) for thing in spec.objects)
            spec = replace(spec, look=look, objects=things)
        mixed = look is None and tuple(objects) == OBJECTS
        yield render(seed) if mixed else render(seed, spec)


def write_dataset(drawn: Iterator[Scene], n: int, folder: Path) -> None:
    """Write scenes and a contact sheet, all or nothing.

    The folder holds ``images/00000.png`` …, ``masks/00000-0-banana.png`` …, ``metadata.jsonl`` with one row a picture
    (``file_name``, ``text``, ``look``, ``ground``, and ``objects`` with name, attributes and mask), and ``sheet.png``.

    Args:
        drawn: The scenes.
        n: How many.
        folder: Where they go; an earlier dataset there is replaced.

    Raises:
        InputError: If the folder holds anything else, or can't be written.
    """
    with atomic_folder(folder, overwrite=ENTRIES) as partial:
        for name in ("images", "masks"):
            (partial / name).mkdir()
        sheet: list[tuple[str, list[Image.Image]]] = []
        with (partial / "metadata.jsonl").open("w", encoding="utf-8") as rows:
            for number, scene in enumerate(tqdm(drawn, total=n, desc="draw", unit="scene")):
                rows.write(json.dumps(_write_scene(scene, number, partial)) + "\n")
                if number < SHEET:
                    sheet.append((scene.caption, [scene.image]))
        contact_sheet(sheet, [""], across=min(8, len(sheet)), side=192).save(partial / "sheet.png")


def _write_scene(scene: Scene, number: int, folder: Path) -> dict[str, object]:
    scene.image.save(folder / "images" / f"{number:05d}.png")
    things = []
    for place, thing in enumerate(scene.objects):
        mask = f"masks/{number:05d}-{place}-{thing.name}.png"
        Image.fromarray(thing.mask.astype(np.uint8) * 255).save(folder / mask)
        things.append({"name": thing.name, **thing.attributes, "mask": mask})
    return {
        "file_name": f"images/{number:05d}.png",
        "text": str(scene.caption),
        "look": scene.spec.look,
        "ground": scene.spec.ground,
        "objects": things,
    }
