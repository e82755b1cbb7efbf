"""Loads Orchard's language model: a standard Transformers folder, read by the standard classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from .pipeline import without_bars
from .weight_files import weights_folder

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

FILES: Final = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def load_language_model(
    dtype: torch.dtype | None = None, folder: str | Path | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Load the committed language model, just as ``AutoModelForCausalLM`` and ``AutoTokenizer`` give it.

    Args:
        dtype: The type of its weights, which are stored in half precision; ``None`` for float32.
        folder: Another folder in Transformers' format; ``None`` for the committed one.

    Returns:
        The model in evaluation mode, on the CPU, and its tokenizer, which pads on the left.

    Raises:
        InputError: If the weights are missing or cut off.
    """
    path = weights_folder("language", folder, FILES)
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    with without_bars():
        model = LlamaForCausalLM.from_pretrained(path)
    return model.to(dtype or torch.float32).eval(), PreTrainedTokenizerFast.from_pretrained(path)
