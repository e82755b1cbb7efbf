"""DSASAttnProcessor: wraps whatever attention processor stands there, and sees or changes what each head gives."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, wraps
from inspect import signature
from typing import Any, Final

import torch
from diffusers.hooks._helpers import AttentionProcessorRegistry
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..errors import InputError
from .seen_through import check_seen_through

#: What a wrapper keeps for itself; every other attribute is the wrapped processor's.
_OWN: Final = ("wrapped", "path", "readers", "changers")
#: The argument of processors by which the text comes in.
_TEXT: Final = "encoder_hidden_states"


@dataclass(frozen=True)
class Attended:
    """What an attention module attended with in one call: heads = softmax(scale · query · keyᵀ + mask) · value.

    Args:
        heads: What each head gives; of text and image positions where they attend together.
        query: After norms and rotary embedding.
        key: The same; with grouped queries it has fewer heads.
        mask: What was added to the scores, or where attention was allowed; `None` for none.
        scale: Of the scores.
        beside: How many positions the text has that was handed in beside the image; `None` where there was none.
    """

    heads: Float[Tensor, "rows heads positions head_dim"]
    query: Float[Tensor, "rows heads positions dim"]
    key: Float[Tensor, "rows key_heads keys dim"]
    mask: Tensor | None
    scale: float
    beside: int | None

    def probabilities(self, rows: slice, queries: slice, keys: slice) -> Float[Tensor, "rows heads queries keys"]:
        """Give the softmax over all keys, of some rows, queries and keys, in float32; one head at a time.

        Args:
            rows: Which of the batch.
            queries: Which positions look.
            keys: Which positions are looked at.
        """
        query, key = self.query[rows][:, :, queries].float(), self.key[rows].float()
        shared = query.shape[1] // key.shape[1]
        whole = self.query.shape[:3] + self.key.shape[2:3]
        mask = None if self.mask is None else self.mask.expand(whole)[rows][:, :, queries]
        found = []
        for head in range(query.shape[1]):
            scores = self.scale * query[:, head] @ key[:, head // shared].mT
            if mask is not None and mask.dtype == torch.bool:
                scores = scores.masked_fill(~mask[:, head], -torch.inf)
            elif mask is not None:
                scores = scores + mask[:, head]
            found.append(scores.softmax(-1)[..., keys])
        return torch.stack(found, dim=1)


class DSASAttnProcessor:
    """Wraps an attention processor and sees its queries, its keys, and what each head gives, which it may change.

    The wrapped processor runs as it is, with its own signature and attributes; torch's
    `scaled_dot_product_attention` is watched while it runs. So heads are reached behind rotary embeddings and before
    any projection, whether they have one of their own or not. What attends in another way, or more than once a call,
    can't be seen through and is refused.

    Steering uses it for heads without a projection of their own (`"unprojected-head"`), as in FLUX's single-stream
    blocks. Heads with one are steered at that projection by `HeadsHook`, bit for bit as it would be done here: that
    hook doesn't mind which processor stands there, so that slicing, linear attention, every backend and whoever sets
    another processor go on beside it.

    `Listening` puts it in and takes it out; `AttentionMaps` is the easy way to look through it.

    Args:
        wrapped: The processor that stands there.
        path: Where, for messages.

    Attributes:
        readers: Called with an `Attended` in every call.
        changers: Called after them with the heads, (rows, heads, positions, head_dim); what they return takes their
            place.

    Raises:
        InputError: If the processor can't be seen through.
    """

    wrapped: Any
    path: str
    readers: list[Callable[[Attended], None]]
    changers: list[Callable[[Tensor], Tensor]]
    _text_at: int | None = None
    _wraps: type | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs and cls._wraps is not None:
            return cls._wraps()  # an IP-Adapter's loader makes new ones of each processor's class
        wrapped = args[0] if args else kwargs.get("wrapped")
        return super().__new__(_kind(type(wrapped)) if cls is DSASAttnProcessor else cls)

    def __init__(self, wrapped: Any, path: str = "") -> None:
        if isinstance(wrapped, DSASAttnProcessor):
            raise InputError(
                f"The attention processor of {path or 'this module'} is wrapped already, and one wrapper serves all. "
                "Listen to the one that stands there, with `Listening`."
            )
        check_seen_through(wrapped, path)
        self.wrapped, self.path = wrapped, path
        self.readers, self.changers = [], []

    def __getnewargs__(self) -> tuple[Any, str]:
        return self.wrapped, self.path  # for copies

    def __getattr__(self, name: str) -> Any:
        if name in _OWN or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            super().__setattr__(name, value)
        else:
            setattr(self.wrapped, name, value)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__} (put there by dsas_diffusion: detach the steerer or leave `AttentionMaps`, change "
            "processors, and attach again)"
        )

    def _run(self, attn: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self.readers and not self.changers:
            return self.wrapped(attn, *args, **kwargs)
        text = kwargs.get(_TEXT)
        if self._text_at is not None and self._text_at < len(args):
            text = args[self._text_at]
        watching = _Watching(self, text.shape[1] if isinstance(text, Tensor) else None)
        with watching:  # `as` would hand torch.compile another object
            output = self.wrapped(attn, *args, **kwargs)
        if watching.count != 1:
            raise InputError(
                f"{type(self.wrapped).__name__} at {self.path} attended {watching.count} times in one call by torch's "
                "`scaled_dot_product_attention`, where once was expected, so its heads can't be told. An adapter that "
                "attends beside the text and perturbed-attention guidance do it twice, another attention backend not "
                "at all: do without them, or choose other sites."
            )
        return output

    def attended(self, given: Attended) -> Tensor:
        """Show what was attended, and give the heads that take its place.

        Args:
            given: What was attended.
        """
        for read in self.readers:
            read(given)
        heads = given.heads
        for change in self.changers:
            heads = change(heads)
        return heads


class _Watching(TorchFunctionMode):
    """Catches what is attended in one call of a processor; of this thread alone."""

    def __init__(self, processor: DSASAttnProcessor, beside: int | None) -> None:
        super().__init__()
        self.processor, self.beside, self.count = processor, beside, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is not F.scaled_dot_product_attention:
            return output
        self.count += 1
        if self.count > 1:  # refused when the processor is done
            return output
        return self.processor.attended(_attended(output, self.beside, *args, **kwargs))


def _attended(
    heads: Tensor,
    beside: int | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Attended:
    """Read the arguments of torch's `scaled_dot_product_attention`, which are named here as there."""
    if is_causal:
        attn_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    return Attended(heads, query, key, attn_mask, query.shape[-1] ** -0.5 if scale is None else scale, beside)


@cache
def _kind(wrapped: type) -> type[DSASAttnProcessor]:
    """Make the class that wraps a class of processors: with its signature, and known to Diffusers where that one is.

    Attention modules hand on what the signature names, and Diffusers reads class names: "Added", "XFormers".
    """

    @wraps(wrapped.__call__)
    def call(self: DSASAttnProcessor, attn: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return self._run(attn, args, kwargs)

    names = list(signature(wrapped.__call__).parameters)[2:]  # without itself and the module
    own = {"__call__": call, "_text_at": names.index(_TEXT) if _TEXT in names else None, "_wraps": wrapped}
    kind = type(f"DSASAttnProcessor[{wrapped.__name__}]", (DSASAttnProcessor,), own)
    with suppress(ValueError):  # not registered, which its wrapper then isn't either
        AttentionProcessorRegistry.register(kind, AttentionProcessorRegistry.get(wrapped))
    return kind


class Listening:
    """Listens to an attention module through the wrapper around its processor, until `remove`.

    The first to listen puts the wrapper in, and the last puts the very processor back that stood there. Where another
    one is set meanwhile, as `load_ip_adapter` and `fuse_qkv_projections` do, `check` wraps that one.

    Args:
        attention: The attention module.
        path: Its path in the model, for messages.
        see: Called with what was attended; or, to change the heads, with these alone.
        change: Whether it changes the heads: what it returns takes their place.

    Raises:
        InputError: If the processor can't be seen through.
    """

    def __init__(self, attention: Any, path: str, see: Callable[..., Any], change: bool = False) -> None:
        self.attention, self.path, self._see, self._changes = attention, path, see, change
        self._join()

    def check(self) -> None:
        """Look, before a call, whether the wrapper still stands and sees through; wrap what has taken its place.

        Raises:
            InputError: If the processor that stands there can't be seen through.
        """
        if self.attention.processor is self.processor:
            check_seen_through(self.processor.wrapped, self.path)
        else:
            self.remove()
            self._join()

    def _join(self) -> None:
        standing = getattr(self.attention, "processor", None)
        if isinstance(standing, DSASAttnProcessor):
            check_seen_through(standing.wrapped, self.path)
        else:
            if standing is None or not hasattr(self.attention, "set_processor"):
                raise InputError(
                    f"{type(self.attention).__name__} at {self.path} has no attention processor that could be wrapped. "
                    "Choose other sites."
                )
            standing = DSASAttnProcessor(standing, self.path)
            self.attention.set_processor(standing)
        self.processor = standing
        self._joined.append(self._see)

    @property
    def _joined(self) -> list[Any]:
        return self.processor.changers if self._changes else self.processor.readers

    def remove(self) -> None:
        """Stop listening. Harmless when called again."""
        if self._see in self._joined:
            self._joined.remove(self._see)
        processor = self.processor
        if not processor.readers and not processor.changers and self.attention.processor is processor:
            self.attention.set_processor(processor.wrapped)


def joined(heads: Float[Tensor, "rows heads positions head_dim"]) -> Float[Tensor, "rows positions channels"]:
    """Put heads side by side, as the output projection takes them.

    Args:
        heads: What each gives.
    """
    return heads.transpose(1, 2).flatten(2)


def parted(
    whole: Float[Tensor, "rows positions channels"], count: int
) -> Float[Tensor, "rows heads positions head_dim"]:
    """Take heads apart again.

    Args:
        whole: Side by side.
        count: How many.
    """
    return whole.unflatten(2, (count, -1)).transpose(1, 2)
