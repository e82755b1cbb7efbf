"""The denoiser of a pipeline, which rows of its calls follow the prompt, and how far the schedule has come."""

from typing import Literal, get_args

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.utils.torch_utils import is_compiled_module, unwrap_module
from torch import Tensor

from ..errors import InputError

#: The halves of a batch under classifier-free guidance.
Half = Literal["conditional", "unconditional", "both"]


def denoiser_of(pipe: StableDiffusionPipeline) -> UNet2DConditionModel:
    """Give a pipeline's denoiser.

    Args:
        pipe: A `StableDiffusionPipeline` or a subclass of it.

    Raises:
        InputError: If it is another kind of pipeline, whose rows are not known, or its denoiser is no U-Net.
    """
    denoiser = unwrap_module(pipe.unet) if isinstance(pipe, StableDiffusionPipeline) else None
    if not isinstance(denoiser, UNet2DConditionModel):
        found = type(pipe).__name__ if denoiser is None else f"one whose unet is a {type(denoiser).__name__}"
        raise InputError(
            "Only a StableDiffusionPipeline with a UNet2DConditionModel can be steered, since which rows of a denoiser "
            f"call follow the prompt differs from pipeline to pipeline. This is {found}. Load a Stable Diffusion 1 or "
            "2 checkpoint with `StableDiffusionPipeline.from_pretrained`."
        )
    return denoiser


def rows_of(pipe: StableDiffusionPipeline, rows: int, half: Half = "conditional") -> slice:
    """Find one half of the rows of the running denoiser call.

    Stable Diffusion puts the unconditional half first and both halves into one call; without guidance every row is
    conditional. Resolved at each call, since guidance may be switched off during a run.

    Args:
        pipe: The pipeline that is running.
        rows: Batch size of the call.
        half: `"conditional"` (the rows that follow the prompt), `"unconditional"` or `"both"`.

    Returns:
        The rows; none where the unconditional half is asked for and there is no guidance.
    """
    middle = rows // 2 if pipe.do_classifier_free_guidance else 0
    return {"conditional": slice(middle, rows), "unconditional": slice(0, middle), "both": slice(0, rows)}[half]


def checked_half(half: Half) -> Half:
    """Give the half back, if it is one.

    Raises:
        InputError: If it is not.
    """
    if half not in get_args(Half):
        raise InputError(f"half must be one of {', '.join(map(repr, get_args(Half)))}, but is {half!r}.")
    return half


def progress_of(pipe: StableDiffusionPipeline, timestep: Tensor | float) -> Tensor:
    """Find how far the schedule has come, without leaving the device.

    Args:
        pipe: The pipeline that is running.
        timestep: The timestep of the running call.

    Returns:
        The share of the schedule's timesteps that are done, in [0, 1); a scalar tensor.
    """
    timesteps = pipe.scheduler.timesteps
    current = torch.as_tensor(timestep, device=timesteps.device, dtype=timesteps.dtype).flatten()[0]
    return (timesteps - current).abs().argmin() / len(timesteps)


def sampling_of(pipe: StableDiffusionPipeline) -> dict[str, float]:
    """Give the sampling settings of the running or the last call: `num_inference_steps` and `guidance_scale`."""
    return {"num_inference_steps": pipe.scheduler.num_inference_steps, "guidance_scale": pipe.guidance_scale}


def is_compiled(pipe: StableDiffusionPipeline) -> bool:
    """Whether the denoiser or a part of it is compiled, in any of torch's ways."""
    return is_compiled_module(pipe.unet) or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in denoiser_of(pipe).modules()
    )
