"""Where a denoiser keeps the image: the grid that enters it, and the image's place in sequences that hold text, too."""

import warnings
from collections.abc import Mapping
from math import isqrt
from typing import Any, Final

from torch import Tensor, nn

#: Denoisers that put the text in front of the image where both share a sequence; others are taken to do so.
TEXT_FIRST: Final = frozenset(
    {
        "AuraFlowTransformer2DModel",
        "ChromaTransformer2DModel",
        "Flux2Transformer2DModel",
        "FluxTransformer2DModel",
        "Lumina2Transformer2DModel",
    }
)
#: Denoisers that put the image first.
IMAGE_FIRST: Final = frozenset(
    {
        "ZImageTransformer2DModel",
        "HiDreamImageTransformer2DModel",
        "HunyuanImageTransformer2DModel",
        "HunyuanVideoTransformer3DModel",
        "MochiTransformer3DModel",
    }
)
#: Denoisers that join each row's own text, without its padding, with the image.
PACKED_BY_ROW: Final = frozenset({"Lumina2Transformer2DModel"})


def warn_of_order(denoiser: nn.Module) -> None:
    """Warn where the order of text and image in one sequence is only assumed.

    Args:
        denoiser: A model in which both share a sequence.
    """
    name = type(denoiser).__name__
    if name not in TEXT_FIRST | IMAGE_FIRST:
        warnings.warn(
            f"In which order {name} joins text and image is not known; the text is taken to stand first. If steering "
            "does not do what it should, choose sites where the image stands alone: `dsas inspect` shows what stands "
            "beside it.",
            stacklevel=2,
        )


def image_grid(denoiser: nn.Module, given: Mapping[str, Any]) -> tuple[int, int]:
    """Find the height and width of the image's positions as they enter a denoiser.

    Args:
        denoiser: The model.
        given: Arguments of the call by name, the latents first.

    Returns:
        Height and width; frames of a video stand one below another. For U-Nets, those of the latents.
    """
    sample = next(iter(given.values()))
    shape = sample[0].shape[1:] if isinstance(sample, list | tuple) else sample.shape[2:]
    if given.get("img_shapes") is not None:
        frames, height, width = _innermost(given["img_shapes"])
        return frames * height, width
    if given.get("img_ids") is not None:
        ids: Tensor = given["img_ids"]
        ids = ids[0] if ids.ndim == 3 else ids
        main = ids[ids[:, 0] == ids[0, 0]]  # reference images have another number in the first column
        return int(main[:, 1].max()) + 1, int(main[:, 2].max()) + 1
    if len(shape) == 1:
        return _packed(denoiser, given, sample.shape[1])
    height, width = patch_of(denoiser)[1:]
    frames = shape[0] // patch_of(denoiser)[0] if len(shape) == 3 else 1
    return frames * (shape[-2] // height), shape[-1] // width


def _innermost(shapes: Any) -> tuple[int, int, int]:
    while isinstance(shapes[0], list | tuple):
        shapes = shapes[0]
    return tuple(shapes)


def _packed(denoiser: nn.Module, given: Mapping[str, Any], positions: int) -> tuple[int, int]:
    """The grid of latents that come as a sequence."""
    if all(isinstance(given.get(name), int) for name in ("num_frames", "height", "width")):
        return given["num_frames"] * given["height"], given["width"]
    side = isqrt(positions)
    grid = (side, side) if side * side == positions else (1, positions)
    warnings.warn(
        f"How {type(denoiser).__name__} lays out its {positions} image positions is not known; they are taken for "
        f"{grid[0]}×{grid[1]}. Gates work all the same, but gate maps and regions may be laid out wrong.",
        stacklevel=2,
    )
    return grid


def patch_of(denoiser: nn.Module) -> tuple[int, int, int]:
    """Give how many frames, rows and columns of latents make one position: 1, 1, 1 for U-Nets.

    Args:
        denoiser: The model.
    """
    config = getattr(denoiser, "config", {})
    size = config.get("patch_size") or (config.get("all_patch_size") or (1,))[0]
    frames = config.get("patch_size_t") or (config.get("all_f_patch_size") or (1,))[0]
    if isinstance(size, list | tuple):
        return (size[-3] if len(size) == 3 else frames, size[-2 if len(size) > 1 else -1], size[-1])
    return frames, size, size


def tokens_of(denoiser: nn.Module, given: Mapping[str, Any], grid: tuple[int, int]) -> int | None:
    """Find how many positions the image stream has.

    Args:
        denoiser: The model.
        given: Arguments of the call by name, the latents first.
        grid: Of the image.

    Returns:
        Their number, reference images included; `None` for U-Nets, where each level has its own.
    """
    sample = next(iter(given.values()))
    if isinstance(sample, Tensor) and sample.ndim == 3:
        return sample.shape[1]
    config = getattr(denoiser, "config", {})
    if any(config.get(name) for name in ("patch_size", "all_patch_size")):
        return grid[0] * grid[1]
    return None


def text_lengths(denoiser: nn.Module, given: Mapping[str, Any]) -> Tensor | None:
    """Find where the image begins in each row's sequence, where rows differ.

    Args:
        denoiser: The model.
        given: Arguments of the call by name.

    Returns:
        (rows,), or `None` where rows don't differ.
    """
    if type(denoiser).__name__ in PACKED_BY_ROW:
        return given["encoder_attention_mask"].sum(dim=1)
    return None
