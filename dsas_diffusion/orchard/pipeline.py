"""Loads Orchard's text-to-image pipelines: standard Diffusers classes from a standard folder."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, overload

import torch

from .weight_files import weights_folder
from .world import check_name

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

    Pipeline: TypeAlias = StableDiffusionPipeline | StableDiffusion3Pipeline

_SHARED: Final = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
_FILES: Final[dict[str, tuple[str, ...]]] = {
    "unet": (*_SHARED, "unet/config.json", "unet/diffusion_pytorch_model.safetensors"),
    "dit": (
        *_SHARED,
        "text_encoder_2/config.json",
        "text_encoder_2/model.safetensors",
        "tokenizer_2/tokenizer.json",
        "tokenizer_2/tokenizer_config.json",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
    ),
}
#: The pipelines that exist, by the name of their weights' folder.
PIPELINES: Final = tuple(_FILES)


@overload
def load_pipeline(
    name: Literal["unet"] = "unet", dtype: torch.dtype = torch.float32, folder: str | Path | None = None
) -> StableDiffusionPipeline: ...
@overload
def load_pipeline(
    name: Literal["dit"], dtype: torch.dtype = torch.float32, folder: str | Path | None = None
) -> StableDiffusion3Pipeline: ...
@overload
def load_pipeline(name: str, dtype: torch.dtype = torch.float32, folder: str | Path | None = None) -> Pipeline: ...
def load_pipeline(name: str = "unet", dtype: torch.dtype = torch.float32, folder: str | Path | None = None) -> Pipeline:
    """Load a committed text-to-image pipeline, just as ``from_pretrained`` gives it.

    Args:
        name: ``"unet"`` for a :class:`~diffusers.StableDiffusionPipeline`, ``"dit"`` for a
            :class:`~diffusers.StableDiffusion3Pipeline`.
        dtype: The type of its weights, which are stored in half precision.
        folder: Another folder in Diffusers' format; ``None`` for the committed one.

    Returns:
        The pipeline, on the CPU.

    Raises:
        InputError: If there is no pipeline of that name, or its weights are missing or cut off.
    """
    check_name("pipeline", name, PIPELINES)
    path = weights_folder(name, folder, _FILES[name])
    # The vae is annotated with AutoencoderKL, and runs AutoencoderTiny as well; bars for a few small files are noise.
    with unsaid("Expected types for vae"), without_bars():
        if name == "dit":
            from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

            # The folder says that there is no third text encoder; Diffusers wants to hear it from the caller, too.
            return StableDiffusion3Pipeline.from_pretrained(path, dtype=dtype, text_encoder_3=None, tokenizer_3=None)
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

        return StableDiffusionPipeline.from_pretrained(path, dtype=dtype)


@contextmanager
def unsaid(*phrases: str) -> Generator[None]:
    """Leave out the messages of Diffusers' pipelines and models that hold one of these phrases."""
    loggers = [logging.getLogger(f"diffusers.{name}") for name in ("pipelines.pipeline_utils", "models.modeling_utils")]

    def is_said(record: logging.LogRecord) -> bool:
        return not any(phrase in record.getMessage() for phrase in phrases)

    for logger in loggers:
        logger.addFilter(is_said)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_said)


@contextmanager
def without_bars() -> Generator[None]:
    """Show no progress bars of Diffusers and Transformers."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    shown = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
    for log in shown:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in shown:
            log.enable_progress_bar()
