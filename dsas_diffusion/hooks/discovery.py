"""Finds what can be steered in any denoiser, by the traits of its modules and not by a list of models."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

#: Under which names attention modules keep their query projection, alone or fused with others, and their output
#: projection.
QUERIES: Final = ("to_q", "to_qkv", "to_qkv_mlp_proj", "q_proj", "q", "qkv", "qkv_proj", "query", "wq", "c_attn")
OUTPUTS: Final = ("to_out", "out_proj", "o_proj", "o", "wo", "proj_out", "dense", "c_proj")
#: What stands between an attention module's path and the number of a head.
HEADS: Final = ".heads."
#: How the argument is called through which the text comes into a denoiser; some models have several such.
TEXT: Final = ("encoder_hidden_states", "cap_feats", "prompt_embeds", "context")
#: Parts of module names that stand for the text's own stream, and of those that bring text, time, latents or an
#: IP-Adapter's picture in.
TEXT_STREAM: Final = ("context", "encoder", "txt", "caption", "cap_", "token_refiner")
WAYS_IN: Final = ("embed", "time_", "pool", "image_proj")


def is_attention(module: nn.Module) -> bool:
    """Whether a module attends: Diffusers' own classes, and others that are called so and have a query projection.

    Args:
        module: The module.
    """
    if isinstance(module, Attention | AttentionModuleMixin):
        return True
    name = type(module).__name__.lower()
    return "attention" in name and "pool" not in name and query_of(module) is not None  # a pool gives no positions


def query_of(attention: nn.Module) -> Any:
    """Give an attention module's query projection; `None` where there is none of a known name.

    Args:
        attention: The module.
    """
    return next((m for m in (_plain(getattr(attention, name, None)) for name in QUERIES) if m is not None), None)


def output_of(attention: nn.Module) -> tuple[str, Any] | None:
    """Give an attention module's output projection with its name inside the module; `None` where there is none.

    Args:
        attention: The module.
    """
    for name in OUTPUTS:
        found = getattr(attention, name, None)
        if isinstance(found, nn.Sequential | nn.ModuleList) and len(found):
            name, found = f"{name}.0", found[0]
        if (plain := _plain(found)) is not None:
            return name, plain
    return None


def _plain(projection: Any) -> Any:
    """A linear layer, looked for below a LoRA; `None` for anything else."""
    projection = getattr(projection, "base_layer", projection)
    return projection if hasattr(projection, "in_features") or isinstance(projection, Conv1D) else None


def attention_kind(attention: Any, path: str, denoiser: nn.Module) -> str:
    """Tell `cross-attention`, `joint-attention` (text in a stream of its own) and `self-attention` apart.

    Args:
        attention: An attention module.
        path: Where it is in the model.
        denoiser: The model.
    """
    if any(getattr(attention, name, None) is not None for name in ("add_k_proj", "add_qkv_proj", "to_added_qkv")):
        return "joint-attention"
    cross = getattr(attention, "is_cross_attention", None)
    if cross is None:
        query, key = query_of(attention), getattr(attention, "to_k", None)
        cross = key is not None and key.in_features != query.in_features
        holder, _, name = path.rpartition(".")
        cross = cross or _is_handed_text(type(denoiser.get_submodule(holder)), name)
    width = getattr(denoiser, "config", {}).get("cross_attention_dim") if hasattr(denoiser, "config") else None
    own = getattr(attention, "cross_attention_dim", None)
    if cross and isinstance(width, int) and isinstance(own, int) and own not in (width, _caption_width(denoiser)):
        cross = False  # a class that always names a width, as Kandinsky 3's self-attention
    return "cross-attention" if cross else "self-attention"


@cache
def _is_handed_text(holder: type[nn.Module], name: str) -> bool:
    """Whether a module's own code calls one of its parts with the text as it came in."""
    for node in ast.walk(_code_of(holder)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"self.{name}":
            handed = [*node.args, *(keyword.value for keyword in node.keywords)]
            return any(isinstance(value, ast.Name) and value.id.startswith(TEXT) for value in handed)
    return False


@cache
def text_first_in(processor: type) -> bool | None:
    """Whether an attention processor that joins text and image puts the text first, told by the names in its code.

    Args:
        processor: Its class.

    Returns:
        `None` where the code doesn't tell.
    """
    orders = set()
    for node in ast.walk(_code_of(processor, "__call__")):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.cat" and isinstance(node.args[0], ast.List):
            text = [is_text_stream(ast.unparse(joined)) for joined in node.args[0].elts]
            if len(text) == 2 and text[0] != text[1]:
                orders.add(text[0])
    return orders.pop() if len(orders) == 1 else None


def _code_of(kind: type, name: str = "forward") -> ast.AST:
    """A method of a class; an empty tree where there is no source at hand."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(getattr(kind, name))))
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])


def _caption_width(denoiser: Any) -> int | None:
    """The width that text is brought to on its way in, where a model does so."""
    config = denoiser.config
    heads, width = config.get("num_attention_heads"), config.get("attention_head_dim")
    return heads * width if isinstance(heads, int) and isinstance(width, int) else None


def attention_width(attention: nn.Module) -> int | None:
    """Give the width of an attention module's output; `None` where it can't be told.

    Args:
        attention: The module.
    """
    found = output_of(attention)
    if found is not None:
        return found[1].out_features
    inner = getattr(attention, "inner_dim", None)
    query = query_of(attention)
    return inner if isinstance(inner, int) else query.out_features if query is not None else None


def blocks(denoiser: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """List transformer blocks: modules that hold attention directly. Of nested ones, the outermost.

    Args:
        denoiser: The model.

    Yields:
        Path, module, and the width of the residual stream, which is that of the attention's input.
    """
    last = "\n"
    for path, module in denoiser.named_modules():
        if not path or is_attention(module) or path.startswith(f"{last}."):
            continue
        attention = next((child for child in module.children() if is_attention(child)), None)
        query = None if attention is None else query_of(attention)
        if query is not None:
            last = path
            yield path, module, query.in_features


def takes_text(denoiser: nn.Module) -> bool:
    """Whether a denoiser is handed the text.

    Args:
        denoiser: The model.
    """
    return any(name.startswith(TEXT) for name in inspect.signature(type(denoiser).forward).parameters)


def is_text_stream(path: str) -> bool:
    """Whether a name says that it is the text's own.

    Args:
        path: A module's path in the model, or a variable's name.
    """
    return any(part in path for part in TEXT_STREAM)


def is_way_in(path: str) -> bool:
    """Whether a module's name says that it comes before the image's own layers.

    Args:
        path: Its path in the model.
    """
    return any(part in path for part in WAYS_IN)


def norm_width(module: nn.Module) -> int | None:
    """Give the channels of a norm whose output is an activation; `None` for other modules.

    Args:
        module: The module.
    """
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    if isinstance(module, nn.LayerNorm):
        return module.normalized_shape[-1]
    name = type(module).__name__
    if name.endswith(("RMSNorm", "T5LayerNorm")) or isinstance(module, nn.RMSNorm):
        weight, shape = getattr(module, "weight", None), getattr(module, "normalized_shape", None)
        return weight.shape[-1] if isinstance(weight, Tensor) else shape[-1] if shape else None
    if name.startswith(("AdaLayerNorm", "SD35AdaLayerNorm", "LuminaRMSNorm", "LuminaLayerNorm")):
        return next((norm_width(child) for child in module.children() if norm_width(child)), None)
    return None


@cache
def image_index(kind: type[nn.Module]) -> int:
    """Find which element of a module's output is the image stream, where it returns several.

    Attention modules hand back the image first, and the layers of Transformers their hidden states. Of blocks
    Diffusers' registry knows many; for others the names in the class's own `return` tell: the one that speaks of the
    text is not the image.

    Args:
        kind: The module's class.
    """
    if issubclass(kind, Attention | AttentionModuleMixin) or kind.__module__.startswith("transformers."):
        return 0
    try:
        index = TransformerBlockRegistry.get(kind).return_hidden_states_index
        return 0 if index is None else index
    except ValueError:  # not registered
        return _index_by_names(kind)


def _index_by_names(kind: type[nn.Module]) -> int:
    returned = [node.value for node in ast.walk(_code_of(kind)) if isinstance(node, ast.Return)]
    for value in reversed(returned):
        if isinstance(value, ast.Tuple):
            names = [element.id if isinstance(element, ast.Name) else "" for element in value.elts]
            images = [i for i, name in enumerate(names) if name and not is_text_stream(name)]
            return images[0] if images else 0
    return 0
