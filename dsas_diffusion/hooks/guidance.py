"""Which rows of a denoiser call are conditional, and the denoiser of a pipeline."""

from typing import TYPE_CHECKING

from diffusers import UNet2DConditionModel
from diffusers.utils.torch_utils import unwrap_module
from torch import nn

from ..errors import InputError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def denoiser_of(pipe: "DiffusionPipeline") -> nn.Module:
    """Give a pipeline's denoiser.

    Args:
        pipe: A pipeline with a `UNet2DConditionModel`.

    Raises:
        InputError: If it has none, or guides in a way whose rows are not known.
    """
    denoiser = unwrap_module(getattr(pipe, "unet", None))
    if not isinstance(denoiser, UNet2DConditionModel):
        found = type(denoiser).__name__ if denoiser is not None else "no `unet`"
        raise InputError(
            f"{type(pipe).__name__} can't be steered: a text-to-image pipeline with a UNet2DConditionModel is needed, and this "
            f"one has {found}. Load a Stable Diffusion pipeline."
        )
    if hasattr(pipe, "do_perturbed_attention_guidance"):
        raise InputError(
            f"{type(pipe).__name__} adds perturbed rows to each denoiser call, and which rows to steer among them is not known. "
            "Load the pipeline without PAG."
        )
    return denoiser


def conditional_rows(pipe: "DiffusionPipeline", rows: int) -> slice:
    """Find the rows of the running denoiser call that follow the prompt.

    Stable Diffusion puts the unconditional half first and both halves into one call; without guidance every row is
    conditional. Resolved at each call, since guidance may be switched off during a run.

    Args:
        pipe: The pipeline that is running.
        rows: Batch size of the call.
    """
    return slice(rows // 2, rows) if pipe.do_classifier_free_guidance else slice(0, rows)
