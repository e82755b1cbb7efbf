"""Gate maps laid over the pictures that they steered."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from .report import contact_sheet

_TINT = np.array([255.0, 30.0, 120.0])
_GREYED = 0.55


class GatesRecorded(Protocol):
    """What a run with recorded gates offers."""

    def gate_maps(self) -> Mapping[str, torch.Tensor]:
        """Site → (steps, pictures, height, width) in [0, 1]."""

    def concept_map(self, height: int, width: int) -> torch.Tensor:
        """(pictures, height, width) in [0, 1], averaged over sites and steps."""


def tinted(image: Image.Image, heat: torch.Tensor) -> Image.Image:
    """Lay a map over a picture: grey where it is 0, pink where it is 1.

    Args:
        image: An RGB picture.
        heat: (height, width) in [0, 1], on any grid.

    Returns:
        A picture of the same size.
    """
    grown = torch.nn.functional.interpolate(heat[None, None].float(), (image.height, image.width), mode="nearest")
    share = grown[0, 0].clamp(0, 1).numpy()[..., None] * 0.75
    grey = np.asarray(image.convert("L"), dtype=np.float64)[..., None] * _GREYED + 255 * (1 - _GREYED) * 0.6
    return Image.fromarray((grey * (1 - share) + _TINT * share).clip(0, 255).astype(np.uint8))


def overlay(
    rows: Sequence[tuple[str, Sequence[Image.Image]]],
    headers: Sequence[str],
    run: GatesRecorded,
    pictures: Sequence[int] | None = None,
    steps: int = 3,
) -> Image.Image:
    """Show where the gates of a run were open: pictures, the mean map, and single sites at several steps.

    Args:
        rows: Prompt and pictures of each row, the last picture being the one that maps are laid over.
        headers: What the pictures are.
        run: What was recorded while the pictures were drawn.
        pictures: Index of each row's picture in the run; by default 0, 1, 2 and so on.
        steps: How many steps to show of each site, from early to late.

    Returns:
        A contact sheet.

    Raises:
        InputError: If nothing was recorded, or for a picture that is not there.
    """
    maps = run.gate_maps()
    shown = sorted(maps, key=lambda path: -float(maps[path].mean()))[:2]
    drawn = next(iter(maps.values())).shape[1]
    chosen = range(len(rows)) if pictures is None else pictures
    if any(index >= drawn for index in chosen):
        raise InputError(f"The run recorded {drawn} pictures, but picture {max(chosen)} was asked for.")
    titles = [*headers, "gates, mean"]
    sheet, means = [], {}
    for (prompt, images), index in zip(rows, chosen, strict=True):
        last = images[-1]
        if last.size not in means:
            means[last.size] = run.concept_map(last.height, last.width)
        extra = [tinted(last, means[last.size][index])]
        for path in shown:
            series = maps[path][:, index]
            for step in np.linspace(0, len(series) - 1, min(steps, len(series))).round().astype(int):
                extra.append(tinted(last, series[step]))
        sheet.append((prompt, [*images, *extra]))
    for number, path in enumerate(shown):
        count = len(maps[path])
        marks = np.linspace(0, count - 1, min(steps, count)).round().astype(int)
        titles += [f"site {number + 1}, step {mark + 1}" for mark in marks]
    legend = "; ".join(f"site {number + 1}: {path}" for number, path in enumerate(shown))
    sheet[0] = (f"{sheet[0][0]}   ({legend})", sheet[0][1])
    return contact_sheet(sheet, titles)
