"""Sites: name patterns and presets to modules and attention heads, with their channels and layout."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2DCrossAttn
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..core.features import Layout, to_positions
from ..errors import InputError
from .attention_processor import Attended, Listening, joined
from .discovery import (
    HEADS,
    attention_kind,
    attention_width,
    blocks,
    image_index,
    is_attention,
    is_text_stream,
    is_way_in,
    norm_width,
    output_of,
    takes_text,
)
from .text_encoders import TextEncoders
from .text_sites import text_modules

#: The output projection of an attention module, whose input holds the heads.
HEADS_AT: Final = "to_out.0"
#: Preset → kinds of site. Heads are in no preset but their own. `auto` is where the text keeps naming the concept at
#: every step: cross-attention, or the attention that text and image share. The blocks that hold the cross-attention
#: need more strength for the same removal and touch control pictures more (`benchmarks.strength`).
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("cross-attention", "joint-attention"),
    "cross-attention": ("cross-attention",),
    "joint-attention": ("joint-attention",),
    "self-attention": ("self-attention",),
    "attention": ("cross-attention", "joint-attention", "self-attention"),
    "attention-heads": ("attention-head", "unprojected-head"),
    "blocks": ("block",),
    "resnets": ("resnet",),
    "norms": ("norm",),
    "mid-block": ("mid-block",),
    "all": ("cross-attention", "joint-attention", "self-attention", "block", "resnet", "norm", "mid-block"),
}
#: The same for language models and for a pipeline's text encoders.
TEXT_PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("text-block",),
    "text-encoder": ("text-block",),
    "blocks": ("text-block",),
    "attention": ("text-attention",),
    "attention-heads": ("text-head",),
    "mlps": ("text-mlp",),
    "norms": ("text-norm",),
    "all": ("text-block", "text-attention", "text-mlp", "text-norm"),
}


@dataclass(frozen=True)
class Site:
    """One activation that is read and changed: a module's output, or an attention head's share of one.

    Args:
        path: The module's path in the denoiser; for head i of an attention module, that module's with `.heads.i`.
        kind: `"cross-attention"`, `"joint-attention"` (text and image attend to one another) and `"self-attention"`
            (the attention module's output), `"attention-head"` (what one head hands to the output projection),
            `"unprojected-head"` (what one head gives where attention has no output projection of its own),
            `"block"` (the transformer block's output), `"resnet"`, `"norm"` or `"mid-block"`; in language
            models and text encoders `"text-block"`, `"text-attention"`, `"text-head"`, `"text-mlp"` or `"text-norm"`.
        channels: Width of the activation.
        layout: `"tokens"` (batch, positions, channels) or `"map"` (batch, channels, height, width). Attention and
            blocks that hand out maps are read as such.
    """

    path: str
    kind: str
    channels: int
    layout: Layout = "tokens"

    @property
    def is_head(self) -> bool:
        """Whether the activation is one head's share."""
        return self.kind in (*PRESETS["attention-heads"], *TEXT_PRESETS["attention-heads"])

    @property
    def is_inside(self) -> bool:
        """Whether the attention's processor alone has the activation; no module takes it in or gives it out."""
        return self.kind == "unprojected-head"

    @property
    def module(self) -> str:
        """Path of the module that is hooked: the site's own, or a head's attention or the output projection of that."""
        if not self.is_head:
            return self.path
        holder = self.path.rpartition(HEADS)[0]  # for heads of language models the projection itself
        return f"{holder}.{HEADS_AT}" if self.kind == "attention-head" else holder

    @property
    def place(self) -> str:
        """Where in the model it is: sites of one place are there at once, and are steered by one hook."""
        return f"{self.module}.processor" if self.is_inside else self.module

    @property
    def part(self) -> slice:
        """Which of the channels at the hooked module are the site's."""
        if not self.is_head:
            return slice(None)
        first = int(self.path.rpartition(HEADS)[2]) * self.channels
        return slice(first, first + self.channels)

    def layout_of(self, whole: Tensor) -> Layout:
        """Give the layout of the activation at hand.

        Args:
            whole: The hooked module's output or, for heads, all heads side by side.
        """
        return "map" if whole.ndim > 3 and self.kind != "norm" else self.layout

    def of(self, whole: Tensor) -> Float[Tensor, "batch positions channels"]:
        """View the site's activation in the hooked module's output or, for heads, in all of them side by side.

        Args:
            whole: (batch, positions, all channels) or (batch, channels, height, width).
        """
        return to_positions(whole, self.layout_of(whole))[..., self.part]


def image_in(output: Any, index: int) -> Tensor:
    """Give the image stream of what a module hands back.

    Args:
        output: A tensor, or several of which one is the image's.
        index: Which, as `discovery.image_index` says.
    """
    return output if isinstance(output, Tensor) else output[index]


def with_image_in(output: Any, index: int, image: Tensor) -> Any:
    """Put the image stream back into what a module hands back.

    Args:
        output: As given to `image_in`; it stays as it is.
        index: As given to `image_in`.
        image: The image stream.
    """
    if isinstance(output, Tensor):
        return image
    return type(output)((*output[:index], image, *output[index + 1 :]))


class Handle(Protocol):
    """What stands in a model and can be taken out."""

    def remove(self) -> None:
        """Take it out."""


def watch(
    denoiser: nn.Module, site: Site, look: Callable[[Float[Tensor, "batch positions channels"]], object]
) -> Handle:
    """Call a function with a site's activation each time that it is computed; nothing is changed.

    Args:
        denoiser: The model, not compiled.
        site: What to look at.
        look: The function; what it gives back is dropped. It gets all positions, those of the text included where text
            and image share a sequence.

    Returns:
        The hook, to be removed.

    Raises:
        InputError: If the site is inside an attention module whose processor can't be seen through.
    """
    module = denoiser.get_submodule(site.module)
    index = image_index(type(module))

    def look_in(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        look(site.of(args[0]))

    def look_out(_: nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
        look(site.of(image_in(output, index)))

    def look_inside(attended: Attended) -> None:
        look(site.of(joined(attended.heads)))

    if site.is_inside:
        return Listening(module, site.module, look_inside)
    return module.register_forward_pre_hook(look_in) if site.is_head else module.register_forward_hook(look_out)


def all_sites(denoiser: nn.Module) -> list[Site]:
    """List every site of a denoiser's image stream, or of text encoders, in the order of their modules.

    The attention module is a site, never the output of its `to_out.0`: a LoRA there would slip in behind the steering.
    Heads are slices of the input of `to_out.0`; of an attention module without it, of what its processor computes.

    Args:
        denoiser: A U-Net or a transformer; or a pipeline's text encoders.
    """
    if isinstance(denoiser, PreTrainedModel | TextEncoders):
        parts = denoiser.items() if isinstance(denoiser, TextEncoders) else [("", denoiser)]
        return [
            Site(f"{name}.{path}".lstrip("."), f"text-{kind}", width)
            for name, encoder in parts
            for path, kind, width in text_modules(encoder)
        ]
    kinds = _attention_kinds(denoiser)
    widths = {path: width for path, _, width in blocks(denoiser)}
    sites, inside = [], "\n"
    for path, module in denoiser.named_modules():
        if is_text_stream(path) or is_way_in(path):
            continue
        if path in kinds:
            width = attention_width(module)
            sites += [] if width is None else [Site(path, kinds[path], width)]
            sites += _heads(path, module)
            inside = f"{path}."  # what an attention module holds is no site: its norms are per head
        elif path in widths:
            sites.append(Site(path, "block", widths[path]))
        elif isinstance(module, ResnetBlock2D):
            sites.append(Site(path, "resnet", module.out_channels, "map"))
        elif isinstance(module, UNetMidBlock2DCrossAttn):
            sites.append(Site(path, "mid-block", module.resnets[-1].out_channels, "map"))
        elif not path.startswith(inside) and (channels := norm_width(module)) is not None:
            sites.append(Site(path, "norm", channels, "map" if isinstance(module, nn.GroupNorm) else "tokens"))
            inside = f"{path}."  # an adaptive norm holds a plain one
    return sites


def _attention_kinds(denoiser: nn.Module) -> dict[str, str]:
    """Tell every attention module's kind.

    Where nothing attends to the text from outside, it comes in through the sequence: attention that is alone in its
    block is then shared by text and image.
    """
    found = {path: m for path, m in denoiser.named_modules() if path and is_attention(m)}
    kinds = {path: attention_kind(m, path, denoiser) for path, m in found.items()}
    if "cross-attention" in kinds.values() or not takes_text(denoiser):
        return kinds
    holders = Counter(path.rpartition(".")[0] for path in kinds)
    return {
        path: "joint-attention" if holders[path.rpartition(".")[0]] == 1 and "refiner" not in path else kind
        for path, kind in kinds.items()
    }


def _heads(path: str, attention: Any) -> list[Site]:
    heads, output = getattr(attention, "heads", None), output_of(attention)
    inner = getattr(attention, "inner_dim", None)
    if not isinstance(heads, int) or not isinstance(inner, int) or inner % heads:
        return []
    if output is None or output[1].in_features != inner:  # no projection, or one that takes something else, too
        kind = "unprojected-head"
    elif output[0] == HEADS_AT:
        kind = "attention-head"
    else:
        return []
    if kind == "unprojected-head" and not hasattr(attention, "set_processor"):
        return []
    return [Site(f"{path}{HEADS}{i}", kind, inner // heads) for i in range(heads)]


def find_sites(denoiser: nn.Module, wanted: str | Sequence[str] = "auto") -> list[Site]:
    """Choose sites by preset or by pattern.

    In a pattern `*` stands for dots too. Heads are chosen by patterns that say `.heads.` alone, such as
    `"*.attn2.heads.*"`: `"*.attn2"` and `"up_blocks.*"` never reach them.

    Args:
        denoiser: A U-Net or a transformer; or a pipeline's text encoders, whose paths begin with `text_encoder`.
        wanted: A preset (a key of `PRESETS`, or of `TEXT_PRESETS`), a path, a shell-style pattern
            (`"up_blocks.*.attn2"`), or several of these.

    Returns:
        The sites, each once.

    Raises:
        InputError: If the denoiser has no sites, or a pattern matches none of them.
    """
    known = all_sites(denoiser)
    if not known:
        raise InputError(
            f"{type(denoiser).__name__} has no attention, block, resnet or norm that could be found, so nothing in it "
            "can be steered. Supported are Diffusers' U-Nets and transformers with attention."
        )
    presets = TEXT_PRESETS if isinstance(denoiser, PreTrainedModel | TextEncoders) else PRESETS
    chosen: dict[str, Site] = {}
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        kinds = presets.get(pattern)
        matching = [s for s in known if (s.kind in kinds if kinds else _matches(s, pattern))]
        if not matching:
            raise InputError(
                f"sites={pattern!r} matches nothing in this {type(denoiser).__name__}. Use a preset "
                f"({', '.join(presets)}) or a pattern over its {len(known)} sites, which have names like "
                f"{known[0].path!r} and {known[-1].path!r}; attention heads need a pattern with {HEADS!r} in it."
            )
        chosen |= {site.path: site for site in matching}
    return list(chosen.values())


def _matches(site: Site, pattern: str) -> bool:
    return fnmatchcase(site.path, pattern) and (HEADS in pattern or not site.is_head)
