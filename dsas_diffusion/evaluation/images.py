"""Pictures from a folder, each with its prompt and, if asked, its unsteered twin; read batch by batch."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..prompts import Prompt, prompt_from_record
from ..records import Record, read_records

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
StrPath: TypeAlias = str | os.PathLike[str]
Images: TypeAlias = Sequence[Image.Image] | torch.Tensor


@dataclass(frozen=True)
class Pair:
    """One picture on disk and what it was drawn from.

    Args:
        path: The picture.
        prompt: Its prompt and labels; `None` if they are not known.
        twin: The same prompt and seed drawn without steering, if there is one.
    """

    path: Path
    prompt: Prompt | None
    twin: Path | None = None


@dataclass(frozen=True)
class Batch:
    """Some pairs with their pictures read.

    Args:
        images: RGB pictures.
        prompts: One for each picture; `None` if there are none.
        twins: One for each picture; empty if there are none.
    """

    images: list[Image.Image]
    prompts: list[Prompt] | None
    twins: list[Image.Image]


def pair_images(folder: StrPath, prompts: StrPath, twins: StrPath | None = None) -> list[Pair]:
    """Find each picture's prompt and twin, reading no picture yet.

    Rows without a field `file` belong to the pictures in the order of their names, row i to the i-th, with numbers in
    names compared as numbers (`2.png` before `10.png`). Rows that all have `file`, a bare file name, belong to the
    picture of that name. Either way every picture has one row and every row has one picture. Twins have the same file
    names.

    Args:
        folder: Pictures, directly in the folder. Files that are no pictures by their ending are passed over.
        prompts: A `.jsonl` or `.csv` file with the fields `prompt` and, optionally, `labels`, `named` and `file`.
        twins: A folder with the unsteered twins.

    Returns:
        The pairs in the prompts file's order.

    Raises:
        InputError: If a folder or the file can't be read, or something doesn't pair; the message names the first such
            thing.
    """
    paths = list_images(folder)
    records = read_records(prompts)
    named = ["file" in record.fields for record in records]
    if any(named) and not all(named):
        raise records[named.index(False)].refuse(
            "the field 'file' is missing, but other rows have it", "Give every row its file name, or none."
        )
    ordered = _by_name(records, paths, folder) if all(named) else _by_order(records, paths, folder, prompts)
    fields = [{key: value for key, value in record.fields.items() if key != "file"} for record in records]
    rows = [
        prompt_from_record(Record(rest, record.place, record.textual))
        for rest, record in zip(fields, records, strict=True)
    ]
    others = [None] * len(rows) if twins is None else _twins_of(ordered, folder, twins)
    return [Pair(path, row, twin) for path, row, twin in zip(ordered, rows, others, strict=True)]


def pair_folders(folder: StrPath, twins: StrPath | None = None) -> list[Pair]:
    """Find pictures without prompts, and each one's twin by its file name, reading no picture yet.

    Args:
        folder: Pictures, directly in the folder. Files that are no pictures by their ending are passed over.
        twins: A folder with their twins, under the same file names, if there is one.

    Returns:
        The pairs in the order of their names, numbers compared as numbers.

    Raises:
        InputError: If a folder can't be read, or a picture has no partner; the message names the first one.
    """
    paths = list_images(folder)
    others = [None] * len(paths) if twins is None else _twins_of(paths, folder, twins)
    return [Pair(path, None, twin) for path, twin in zip(paths, others, strict=True)]


def list_images(folder: StrPath) -> list[Path]:
    """List a folder's pictures by name, with numbers in names compared as numbers.

    Args:
        folder: The folder; folders inside it and hidden files are passed over.

    Returns:
        Paths; never empty.

    Raises:
        InputError: If there is no such folder, or no picture in it.
    """
    try:
        visible = [path for path in Path(folder).iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"Can't read the image folder {folder}: {error.strerror or error}. Check the path.") from error
    entries = [path for path in visible if path.suffix.lower() in SUFFIXES]
    if not entries:
        raise InputError(f"The folder {folder} holds no images. Accepted are files that end in {', '.join(SUFFIXES)}.")
    return sorted(entries, key=_natural_order)


def read_batches(pairs: Sequence[Pair], batch_size: int) -> Iterator[Batch]:
    """Read pictures batch by batch; only one batch is held at a time.

    Args:
        pairs: As `pair_images` or `pair_folders` gives them.
        batch_size: Pictures at a time, 1 or more.

    Yields:
        Batches in order, the last one possibly smaller.

    Raises:
        InputError: If a picture can't be read, or its twin has another size.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it is a number of pictures, 1 or more.")
    for start in range(0, len(pairs), batch_size):
        chosen = pairs[start : start + batch_size]
        images = [read_image(pair.path) for pair in chosen]
        twins = [read_image(pair.twin) for pair in chosen if pair.twin is not None]
        for pair, image, twin in zip(chosen, images, twins, strict=False):
            if image.size != twin.size:
                raise InputError(
                    f"{pair.path} is {image.size[0]}×{image.size[1]} and its twin {pair.twin} is "
                    f"{twin.size[0]}×{twin.size[1]}. Twins are drawn at the same size; generate one of the two again."
                )
        known = [pair.prompt for pair in chosen if pair.prompt is not None]
        yield Batch(images, known if len(known) == len(chosen) else None, twins)


def read_image(path: StrPath) -> Image.Image:
    """Read one picture as RGB.

    Raises:
        InputError: If the file is missing, cut off or no picture.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # each for some kind of broken file
        raise InputError(
            f"Can't read the image {path}: {error}. Write it again, or take it and its prompt out."
        ) from error


def image_size(path: StrPath) -> tuple[int, int]:
    """Read one picture's width and height, and no more of it.

    Raises:
        InputError: If the file is missing or no picture.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"Can't read the image {path}: {error}. Write it again, or take it out.") from error


def as_pil(images: Images) -> list[Image.Image]:
    """Give images as PIL images.

    Args:
        images: n PIL images, or (n, 3, height, width) floats in [0, 1], which are rounded to 8 bits.

    Returns:
        n PIL images; those that came as such are the same objects.

    Raises:
        InputError: If they are neither.
    """
    if not isinstance(images, torch.Tensor):
        strange = next((image for image in images if not isinstance(image, Image.Image)), None)
        if strange is not None:
            raise InputError(f"images holds a {type(strange).__name__}; accepted are PIL images, or one tensor.")
        return list(images)
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(
            f"images is a tensor of shape {tuple(images.shape)} and type {images.dtype}; accepted is a "
            "floating-point tensor (n, 3, height, width), or a list of PIL images."
        )
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError(
            "images holds values outside [0, 1] or NaN. Map [-1, 1] with x / 2 + 0.5, clamp a decoder's output."
        )
    pixels = (images.detach() * 255).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in pixels]


def as_tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """Give PIL images of one size as a tensor.

    Args:
        images: n PIL images of one size.

    Returns:
        (n, 3, height, width) float32 in [0, 1].
    """
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def _natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    # "img10" → [(1, 0, "img"), (0, 10, "")]: numbers by value and before text; the name decides between 1 and 01.
    parts = re.findall(r"\d+|\D+", path.stem.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], path.name


def _by_order(records: Sequence[Record], paths: list[Path], folder: StrPath, prompts: StrPath) -> list[Path]:
    if len(paths) > len(records):
        raise InputError(
            f"{folder} holds {len(paths)} images, but {prompts} has {len(records)} rows: {paths[len(records)].name} "
            "is the first image without a prompt. Add the missing rows, move the image away, or give the rows a "
            "field 'file'."
        )
    if len(records) > len(paths):
        raise records[len(paths)].refuse(
            f"{len(records)} rows belong to the images of {folder}, but there are only {len(paths)}; this row is the "
            "first without one",
            "Generate the missing images, remove the row, or give the rows a field 'file'.",
        )
    return paths


def _by_name(records: Sequence[Record], paths: list[Path], folder: StrPath) -> list[Path]:
    there = {path.name: path for path in paths}
    claimed: dict[str, str] = {}
    for record in records:
        name = record.fields["file"]
        if not isinstance(name, str) or name not in there:
            raise record.refuse(
                f"there is no image {name!r} in {folder}",
                "The field 'file' is a bare file name of an image in that folder.",
            )
        if name in claimed:
            raise record.refuse(
                f"the image {name!r} already belongs to {claimed[name]}", "Give each row an image of its own."
            )
        claimed[name] = record.place
    extra = next((path for path in paths if path.name not in claimed), None)
    if extra is not None:
        raise InputError(f"{extra} is named by no row of the prompts file. Add a row for it, or move it away.")
    return [there[name] for name in claimed]


def _twins_of(paths: list[Path], folder: StrPath, twins: StrPath) -> list[Path]:
    there = {path.name: path for path in list_images(twins)}
    missing = next((path for path in paths if path.name not in there), None)
    if missing is not None:
        raise InputError(
            f"{missing} has no twin {missing.name} in {twins}. Twins have the same file names; generate it too."
        )
    extra = next((path for name, path in there.items() if name not in {known.name for known in paths}), None)
    if extra is not None:
        raise InputError(f"{extra} is a twin of no image in {folder}. Move it away, or generate its image.")
    return [there[path.name] for path in paths]
