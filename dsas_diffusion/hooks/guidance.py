"""Which rows of a denoiser call are conditional, and the denoiser of a pipeline."""

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.utils.torch_utils import unwrap_module

from ..errors import InputError


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


def conditional_rows(pipe: StableDiffusionPipeline, rows: int) -> slice:
    """Find the rows of the running denoiser call that follow the prompt.

    Stable Diffusion puts the unconditional half first and both halves into one call; without guidance every row is
    conditional. Resolved at each call, since guidance may be switched off during a run.

    Args:
        pipe: The pipeline that is running.
        rows: Batch size of the call.
    """
    return slice(rows // 2, rows) if pipe.do_classifier_free_guidance else slice(0, rows)
