"""Finds what can be steered in a language model, by the traits of its modules and not by a list of models."""

from collections.abc import Iterator
from typing import Any, Final

from torch import nn
from transformers.pytorch_utils import Conv1D

from .discovery import HEADS, is_attention, norm_width, output_of

#: Parts of module names that stand for what a model sees pictures with.
_EYES: Final = ("visual", "vision", "image", "multi_modal_projector")


def text_modules(encoder: Any) -> Iterator[tuple[str, str, int]]:
    """List what a language model or text encoder can be steered at, in the order of its modules.

    Heads are told by the output projection whose input they share.

    Args:
        encoder: A model of Transformers, or another with a `config` that names its width.

    Yields:
        Path, kind (`"block"`, `"attention"`, `"head"`, `"mlp"` or `"norm"`) and width.
    """
    config = encoder.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    width = config.hidden_size
    block, inside = "\n", "\n"
    for path, module in encoder.named_modules():
        if any(part in path for part in _EYES) or path.startswith(f"{inside}."):
            continue
        norm = norm_width(module)
        if path.startswith(f"{block}."):
            kind = "norm" if norm else "attention" if is_attention(module) else "mlp" if _is_mlp(module) else None
            if kind is not None:
                inside = path
                yield path, kind, norm or width
                if kind == "attention":
                    yield from _heads(path, module, config.num_attention_heads)
        elif _is_block(encoder, path, module):
            block = path
            yield path, "block", width
        elif norm:
            yield path, "norm", norm


def _is_block(encoder: nn.Module, path: str, module: nn.Module) -> bool:
    """Whether a module is one of a row of layers that attend."""
    holder = encoder.get_submodule(path.rpartition(".")[0])
    return isinstance(holder, nn.ModuleList) and any(is_attention(part) for part in module.modules())


def _heads(path: str, attention: nn.Module, count: int) -> Iterator[tuple[str, str, int]]:
    output = output_of(attention)
    if output is None:
        return
    name, projection = output
    width = projection.nx if isinstance(projection, Conv1D) else projection.in_features
    if width % count == 0:
        yield from ((f"{path}.{name}{HEADS}{i}", "head", width // count) for i in range(count))


def _is_mlp(module: nn.Module) -> bool:
    """Whether a module is a block's feed-forward part, be it a mixture of experts."""
    name = type(module).__name__.lower()
    return name.endswith(("mlp", "feedforward", "dense", "layerff", "moe", "moeblock")) and any(module.children())
