"""Loads Orchard's text-to-image pipelines: standard Diffusers classes from a standard folder."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from .weight_files import weights_folder
from .world import check_name

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

#: The pipelines that exist, by the name of their weights' folder.
PIPELINES: Final = ("unet",)
_FILES: Final = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)


def load_pipeline(
    name: str = "unet", dtype: torch.dtype = torch.float32, folder: str | Path | None = None
) -> StableDiffusionPipeline:
    """Load a committed text-to-image pipeline, just as ``from_pretrained`` gives it.

    Args:
        name: ``"unet"``.
        dtype: The type of its weights, which are stored in half precision.
        folder: Another folder in Diffusers' format; ``None`` for the committed one.

    Returns:
        The pipeline, on the CPU.

    Raises:
        InputError: If there is no pipeline of that name, or its weights are missing or cut off.
    """
    check_name("pipeline", name, PIPELINES)
    path = weights_folder(name, folder, _FILES)
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    # The vae is annotated with AutoencoderKL, and runs AutoencoderTiny as well; bars for four small files are noise.
    with _unsaid("Expected types for vae"), _without_bars():
        return StableDiffusionPipeline.from_pretrained(path, dtype=dtype)


@contextmanager
def _unsaid(beginning: str) -> Generator[None]:
    """Leave out the messages of Diffusers' pipeline loader that begin so."""
    logger = logging.getLogger("diffusers.pipelines.pipeline_utils")

    def is_said(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(beginning)

    logger.addFilter(is_said)
    try:
        yield
    finally:
        logger.removeFilter(is_said)


@contextmanager
def _without_bars() -> Generator[None]:
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
