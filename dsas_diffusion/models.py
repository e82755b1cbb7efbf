"""Pipelines, language models and devices by what people type: a folder, a hub id, or Orchard's name."""

from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from .errors import InputError

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: What Orchard's pipelines are called here → their own names.
ORCHARD: Final[dict[str, Literal["unet", "dit"]]] = {"orchard": "unet", "orchard/unet": "unet", "orchard/dit": "dit"}
Precision = Literal["float32", "float16", "bfloat16"]


def load_pipeline(
    name: str, device: str | torch.device = "cpu", precision: Precision = "float32"
) -> "DiffusionPipeline":
    """Load a text-to-image pipeline.

    Args:
        name: `"orchard"` for Orchard's U-Net pipeline, `"orchard/dit"` for its transformer, a folder in Diffusers'
            format, or a hub id such as `"stable-diffusion-v1-5/stable-diffusion-v1-5"`.
        device: Where it computes.
        precision: The type of its weights.

    Returns:
        The pipeline on the device.

    Raises:
        InputError: If there is no such pipeline, or it can't be loaded.
    """
    dtype = getattr(torch, precision)
    if name in ORCHARD:
        from . import orchard

        return orchard.load_pipeline(ORCHARD[name], dtype=dtype).to(device)
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    try:
        # What a folder lists as absent must be said again, or Stable Diffusion 3 without its T5 is refused.
        listed: Any = DiffusionPipeline.load_config(name)
        absent = {part: None for part, kind in listed.items() if kind == [None, None]}
        pipe = DiffusionPipeline.from_pretrained(name, dtype=dtype, **absent)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No pipeline could be loaded from {name!r}: {str(error).splitlines()[0]} Give `orchard`, a folder with a "
            "model_index.json, or the id of a repository on the hub that you can reach."
        ) from error
    return pipe.to(device)


def load_language(
    name: str, device: str | torch.device = "cpu", precision: Precision = "float32"
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load a causal language model and its tokenizer.

    Args:
        name: `"orchard/language"` for Orchard's, a folder in Transformers' format, or a hub id such as
            `"Qwen/Qwen2.5-1.5B"`.
        device: Where it computes.
        precision: The type of its weights.

    Returns:
        The model on the device, in evaluation mode, and its tokenizer.

    Raises:
        InputError: If there is no such model, or it can't be loaded.
    """
    dtype = getattr(torch, precision)
    if name == "orchard/language":
        from . import orchard

        own, words = orchard.load_language_model(dtype=dtype)
        own.to(torch.device(device))
        return own, words
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
        tokenizer: Any = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No language model could be loaded from {name!r}: {str(error).splitlines()[0]} Give `orchard/language`, a "
            "folder in Transformers' format, or the id of a repository on the hub that you can reach."
        ) from error
    return model.to(device).eval(), tokenizer


def device_of(name: str | None) -> torch.device:
    """Give the device that a name stands for.

    Args:
        name: Such as `"cpu"` or `"cuda"`; `None` for the GPU if there is one.

    Raises:
        InputError: If it can't be used here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:  # torch's two ways to say no
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"device is {name!r}, which can't be used here: {reason}. Accepted are cpu, or cuda with a GPU."
        ) from error
