"""Pipelines, language models and devices by what people type: a folder, a hub id, or Orchard's name."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from safetensors import SafetensorError

from .errors import InputError
from .words import first_line

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: What Orchard's pipelines are called here → their own names.
ORCHARD: Final[dict[str, Literal["unet", "dit"]]] = {"orchard": "unet", "orchard/unet": "unet", "orchard/dit": "dit"}
#: What Orchard's language model is called here.
ORCHARD_LANGUAGE: Final = "orchard/language"
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
            f"No pipeline could be loaded from {name!r}: {first_line(error)}. Give `orchard`, a folder with a "
            "model_index.json, or the id of a repository on the hub that you can reach; a language model is "
            f"`{ORCHARD_LANGUAGE}`, or a folder or repository with a config.json instead."
        ) from error
    return pipe.to(device)


def is_language(name: str) -> bool:
    """Tell a language model from a pipeline: its folder or repository has a config.json and no model_index.json.

    Of a repository on the hub that small file alone is fetched, or looked for among the files that were fetched before.

    Args:
        name: As for :func:`load_pipeline` and :func:`load_language`. What is neither counts as a pipeline.
    """
    if name in ORCHARD or name == ORCHARD_LANGUAGE:
        return name == ORCHARD_LANGUAGE
    if Path(name).exists():
        return not (Path(name) / "model_index.json").is_file() and (Path(name) / "config.json").is_file()
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        hf_hub_download(name, "model_index.json")
    except LocalEntryNotFoundError:  # the hub is out of reach
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except EntryNotFoundError:
        return True
    except (HfHubHTTPError, HFValidationError):
        return False
    return False


def load_language(
    name: str, device: str | torch.device = "cpu", precision: Precision = "float32"
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a language model that generates text, with its tokenizer.

    Args:
        name: `"orchard/language"`, a folder in Transformers' format, or a hub id such as `"Qwen/Qwen2.5-1.5B"`.
        device: Where it computes.
        precision: The type of its weights.

    Returns:
        The model on the device, in evaluation mode, and its tokenizer as it is stored.

    Raises:
        InputError: If there is no such model, it can't be loaded, it has no language model's head, or there is no
            tokenizer beside it.
    """
    dtype = getattr(torch, precision)
    if name == ORCHARD_LANGUAGE:
        from . import orchard

        model, tokenizer = orchard.load_language_model(dtype)
        return model.to(torch.device(device)), tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    try:
        config = AutoConfig.from_pretrained(name)
        _check_head(name, config)
        kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        loaded, told = kind.from_pretrained(name, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"No language model could be loaded from {name!r}: {first_line(error)}. Give `{ORCHARD_LANGUAGE}`, a "
            "folder with a config.json and weights as `save_pretrained` writes them, or the id of a repository on the "
            "hub that you can reach."
        ) from error
    if missing := sorted(told["missing_keys"]):
        raise InputError(
            f"The weights in {name!r} lack {missing[0]}{' and others' if len(missing) > 1 else ''}, which a "
            f"{type(loaded).__name__} needs to generate text. Save the whole model, its head included, and load that."
        )
    return loaded.to(torch.device(device)).eval(), _tokenizer(name)


def _check_head(name: str, config: Any) -> None:
    """Refuse a model that can't generate, before its weights are fetched."""
    import transformers

    for architecture in config.architectures or ():
        known = getattr(transformers, architecture, None)
        if known is not None and not known.can_generate():
            raise InputError(
                f"{name!r} holds a {architecture}, which has no language model's head and generates no text. Give one "
                "that has, such as a …ForCausalLM; in Python `dsas_diffusion.fit` takes this one, too."
            )


def _tokenizer(name: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    kind: Any = AutoTokenizer
    try:
        return kind.from_pretrained(name)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(
            f"{name!r} has no tokenizer beside its model that could be loaded: {first_line(error)}. Save the one that "
            "the model was trained with to the same place, by `tokenizer.save_pretrained`."
        ) from error


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
