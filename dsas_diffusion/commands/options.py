"""What several commands ask in the same words: which prompts, which model, and whether in its chat template."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..errors import InputError
from ..hooks.steerer import Steerer
from ..models import ORCHARD_LANGUAGE, Precision, device_of, is_language, load_language, load_pipeline
from ..prompts import Prompt, read_prompts

#: `"auto"` leaves a choice to what is known already.
Switch = Literal["auto", "on", "off"]


def asked_prompts(prompt: list[str] | str | None, prompts: str | None) -> Sequence[Prompt]:
    """Give the prompts that the options `prompt` and `prompts` name.

    Args:
        prompt: A text, or several.
        prompts: A .jsonl or .csv file, instead.

    Raises:
        InputError: If not just one of them is given, or the file can't be read.
    """
    if (prompt is None) == (prompts is None):
        raise InputError("Give either prompt, one text or several, or prompts, a file.")
    if prompts is not None:
        return read_prompts(prompts)
    return [Prompt(text) for text in ([prompt] if isinstance(prompt, str) else prompt or [])]


def templated(steerer: Steerer, chat: Switch) -> bool:
    """Tell whether prompts go into the tokenizer's chat template.

    Args:
        steerer: Whose fit `"auto"` follows.
        chat: The option.
    """
    return steerer.manifest.get("text", {}).get("chat", False) if chat == "auto" else chat == "on"


def drawing_settings(num_inference_steps: int | None, guidance_scale: float | None) -> dict[str, Any]:
    """Give the sampling settings that were asked for.

    Args:
        num_inference_steps: The option; `None` where it is not given.
        guidance_scale: The option.
    """
    given = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
    return {name: value for name, value in given.items() if value is not None}


def writes(model: str, drawing: Mapping[str, Any], writing: Mapping[str, Any]) -> bool:
    """Tell whether a model writes; options that are for the other kind are refused where one is given.

    Args:
        model: The model's name.
        drawing: Options for pipelines, by name; `None` where they are not given.
        writing: Options for language models.

    Returns:
        True for a language model, false for a pipeline.

    Raises:
        InputError: If an option is given that is for the other kind.
    """
    language = is_language(model)
    given = [name for name, value in (drawing if language else writing).items() if value is not None]
    if given:
        kind, other = ("a language model", "pipelines") if language else ("a pipeline", "language models")
        raise InputError(
            f"--{given[0]} is for {other}, but {model!r} is {kind}. Leave it out, or name a model of the other kind "
            f"with --model, such as {'orchard' if language else ORCHARD_LANGUAGE}."
        )
    return language


def load_model(model: str, language: bool, device: str | None, precision: Precision) -> tuple[Any, Any]:
    """Load a model by name, and a language model's tokenizer, with a pad token.

    Args:
        model: As for `models.load_pipeline` or `models.load_language`.
        language: Whether it is a language model.
        device: Where to compute; `None` for the GPU if there is one.
        precision: The type of the model's weights.

    Returns:
        The model, and its tokenizer; a pipeline has `None` there.

    Raises:
        InputError: As for the function that loads it.
    """
    if not language:
        return load_pipeline(model, device_of(device), precision), None
    return load_for_texts(model, device, precision)


def load_for_texts(model: str, device: str | None, precision: Precision) -> tuple[Any, Any]:
    """Load a language model by name, and its tokenizer, with a pad token.

    Args:
        model: As for `models.load_language`.
        device: Where to compute; `None` for the GPU if there is one.
        precision: The type of the model's weights.

    Raises:
        InputError: As for `models.load_language`.
    """
    loaded, tokenizer = load_language(model, device_of(device), precision)
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
        print(f"{model} has no pad token: texts are filled up with its end token, {tokenizer.eos_token}.")
    return loaded, tokenizer
