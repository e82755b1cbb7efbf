"""Sites: name patterns and presets to modules and attention heads, with their channels and layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2DCrossAttn
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.features import Layout, to_positions
from ..errors import InputError

#: What stands between an attention module's path and the number of a head.
HEADS: Final = ".heads."
#: Preset → kinds of site. Heads are in no preset but their own. `auto` is where the text keeps naming the concept at
#: every step. The blocks that hold the cross-attention need more strength for the same removal and touch control
#: pictures more (`benchmarks.strength`).
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("cross-attention",),
    "cross-attention": ("cross-attention",),
    "self-attention": ("self-attention",),
    "attention": ("cross-attention", "self-attention"),
    "attention-heads": ("attention-head",),
    "blocks": ("block",),
    "resnets": ("resnet",),
    "norms": ("norm",),
    "mid-block": ("mid-block",),
    "all": ("cross-attention", "self-attention", "block", "resnet", "norm", "mid-block"),
}


@dataclass(frozen=True)
class Site:
    """One activation that is read and changed: a module's output, or an attention head's share of one.

    Args:
        path: The module's path in the denoiser; for head i of an attention module, that module's with `.heads.i`.
        kind: `"cross-attention"` and `"self-attention"` (the attention module's output), `"attention-head"` (what one
            head hands to the output projection), `"block"` (the transformer block's output), `"resnet"`, `"norm"`
            (layer and group norms) or `"mid-block"`.
        channels: Width of the activation.
        layout: `"tokens"` (batch, positions, channels) or `"map"` (batch, channels, height, width).
    """

    path: str
    kind: str
    channels: int
    layout: Layout = "tokens"

    @property
    def is_head(self) -> bool:
        """Whether the activation is a part of its module's input, and not the module's output."""
        return self.kind == "attention-head"

    @property
    def module(self) -> str:
        """Path of the module that is hooked: the site's own, or the output projection of a head's attention."""
        return f"{self.path.rpartition(HEADS)[0]}.to_out.0" if self.is_head else self.path

    @property
    def part(self) -> slice:
        """Which of the channels at the hooked module are the site's."""
        if not self.is_head:
            return slice(None)
        first = int(self.path.rpartition(HEADS)[2]) * self.channels
        return slice(first, first + self.channels)

    def of(self, whole: Tensor) -> Float[Tensor, "batch positions channels"]:
        """View the site's activation in the hooked module's output or, for heads, input.

        Args:
            whole: (batch, positions, all channels) or (batch, channels, height, width).
        """
        return to_positions(whole, self.layout)[..., self.part]


def watch(
    denoiser: nn.Module, site: Site, look: Callable[[Float[Tensor, "batch positions channels"]], object]
) -> RemovableHandle:
    """Call a function with a site's activation each time that it is computed; nothing is changed.

    Args:
        denoiser: The model, not compiled.
        site: What to look at.
        look: The function; what it gives back is dropped.

    Returns:
        The hook, to be removed.
    """
    module = denoiser.get_submodule(site.module)

    def look_in(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        look(site.of(args[0]))

    def look_out(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        look(site.of(output))

    return module.register_forward_pre_hook(look_in) if site.is_head else module.register_forward_hook(look_out)


def all_sites(denoiser: nn.Module) -> list[Site]:
    """List every site of a denoiser, in the order of its modules.

    The attention module is a site, never the output of its `to_out.0`: a LoRA there would slip in behind the steering.
    Heads are slices of the input of `to_out.0`; an attention module without it has none.

    Args:
        denoiser: A U-Net with cross-attention.
    """
    sites = []
    for path, module in denoiser.named_modules():
        if isinstance(module, Attention):
            kind = "cross-attention" if module.is_cross_attention else "self-attention"
            sites += [Site(path, kind, module.out_dim), *_heads(path, module)]
        elif isinstance(module, BasicTransformerBlock):
            sites.append(Site(path, "block", module.dim))
        elif isinstance(module, ResnetBlock2D):
            sites.append(Site(path, "resnet", module.out_channels, "map"))
        elif isinstance(module, nn.LayerNorm):
            sites.append(Site(path, "norm", module.normalized_shape[-1]))
        elif isinstance(module, nn.GroupNorm):
            sites.append(Site(path, "norm", module.num_channels, "map"))
        elif isinstance(module, UNetMidBlock2DCrossAttn):
            sites.append(Site(path, "mid-block", module.resnets[-1].out_channels, "map"))
    return sites


def _heads(path: str, attention: Attention) -> list[Site]:
    if attention.to_out is None or attention.inner_dim % attention.heads:
        return []
    width = attention.inner_dim // attention.heads
    return [Site(f"{path}{HEADS}{i}", "attention-head", width) for i in range(attention.heads)]


def find_sites(denoiser: nn.Module, wanted: str | Sequence[str] = "auto") -> list[Site]:
    """Choose sites by preset or by pattern.

    In a pattern `*` stands for dots too. Heads are chosen by patterns that say `.heads.` alone, such as
    `"*.attn2.heads.*"`: `"*.attn2"` and `"up_blocks.*"` never reach them.

    Args:
        denoiser: A U-Net with cross-attention.
        wanted: A preset (a key of `PRESETS`), a path, a shell-style pattern (`"up_blocks.*.attn2"`), or several of
            these.

    Returns:
        The sites, each once.

    Raises:
        InputError: If the denoiser has no sites, or a pattern matches none of them.
    """
    known = all_sites(denoiser)
    if not known:
        raise InputError(
            f"{type(denoiser).__name__} has no attention, block, resnet or norm that can be steered. "
            "Supported are U-Nets with cross-attention, such as Stable Diffusion's UNet2DConditionModel."
        )
    chosen: dict[str, Site] = {}
    for pattern in [wanted] if isinstance(wanted, str) else wanted:
        kinds = PRESETS.get(pattern)
        matching = [s for s in known if (s.kind in kinds if kinds else _matches(s, pattern))]
        if not matching:
            raise InputError(
                f"sites={pattern!r} matches nothing in this {type(denoiser).__name__}. Use a preset "
                f"({', '.join(PRESETS)}) or a pattern over its {len(known)} sites, which have names like "
                f"{known[0].path!r} and {known[-1].path!r}; attention heads need a pattern with {HEADS!r} in it."
            )
        chosen |= {site.path: site for site in matching}
    return list(chosen.values())


def _matches(site: Site, pattern: str) -> bool:
    return fnmatchcase(site.path, pattern) and (HEADS in pattern or not site.is_head)
