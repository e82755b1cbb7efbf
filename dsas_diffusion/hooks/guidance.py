"""The denoiser of a pipeline, the halves of its rows under guidance, and its sampling settings."""

from typing import Any, Final, Literal, get_args

from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.torch_utils import is_compiled_module, unwrap_module

from ..errors import InputError

#: Under which names pipelines keep their denoiser.
DENOISERS: Final = ("transformer", "unet")
#: The halves of a batch under classifier-free guidance.
Half = Literal["conditional", "unconditional", "both"]


def denoiser_of(pipe: DiffusionPipeline) -> Any:
    """Give a pipeline's denoiser: its transformer or U-Net, uncompiled.

    Args:
        pipe: A text-to-image or text-to-video pipeline.

    Raises:
        InputError: If it has none.
    """
    for name in DENOISERS:
        module = getattr(pipe, name, None)
        if module is not None and isinstance(unwrap_module(module), ModelMixin):
            return unwrap_module(module)
    found = f"a {type(pipe).__name__}"
    if isinstance(pipe, DiffusionPipeline):
        found += f" whose components are {', '.join(pipe.components)}"
    raise InputError(
        f"There is no denoiser to steer: a pipeline with a {' or '.join(DENOISERS)} of Diffusers' own classes is "
        f"needed, but this is {found}. Load one with `DiffusionPipeline.from_pretrained`; of a combined pipeline, take "
        "the part that draws the picture."
    )


def checked_half(half: Half) -> Half:
    """Give the half back, if it is one.

    Raises:
        InputError: If it is not.
    """
    if half not in get_args(Half):
        raise InputError(f"half must be one of {', '.join(map(repr, get_args(Half)))}, but is {half!r}.")
    return half


def steps_of(pipe: DiffusionPipeline) -> int:
    """Give the number of denoising steps of the running or the last call; image-to-image runs skip some.

    Args:
        pipe: The pipeline.
    """
    return getattr(pipe, "_num_timesteps", None) or len(pipe.scheduler.timesteps)


def sampling_of(pipe: DiffusionPipeline) -> dict[str, float]:
    """Give the sampling settings of the running or the last call, as far as the pipeline tells them.

    Args:
        pipe: The pipeline.

    Returns:
        `num_inference_steps`, and `guidance_scale` where it is known.
    """
    guidance = getattr(pipe, "guidance_scale", None)
    told = {} if guidance is None else {"guidance_scale": guidance}
    asked = getattr(pipe.scheduler, "num_inference_steps", None)  # some schedulers run a step twice
    return {"num_inference_steps": asked or steps_of(pipe), **told}


def is_compiled(pipe: DiffusionPipeline) -> bool:
    """Whether the denoiser or a part of it is compiled, in any of torch's ways.

    Args:
        pipe: The pipeline.
    """
    whole = any(is_compiled_module(getattr(pipe, name)) for name in DENOISERS if getattr(pipe, name, None) is not None)
    return whole or any(
        getattr(module, "_compiled_call_impl", None) is not None for module in denoiser_of(pipe).modules()
    )
