"""Sites: name patterns and presets to modules, with their channels and layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2DCrossAttn
from torch import nn

from ..core.features import Layout
from ..errors import InputError

#: Preset → kinds of site. `auto` is where the text keeps naming the concept at every step. The blocks that hold the
#: cross-attention need more strength for the same removal and touch control pictures more (`benchmarks.strength`).
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("cross-attention",),
    "cross-attention": ("cross-attention",),
    "self-attention": ("self-attention",),
    "attention": ("cross-attention", "self-attention"),
    "blocks": ("block",),
    "resnets": ("resnet",),
    "norms": ("norm",),
    "mid-block": ("mid-block",),
    "all": ("cross-attention", "self-attention", "block", "resnet", "norm", "mid-block"),
}


@dataclass(frozen=True)
class Site:
    """One module output where activations are read and changed.

    Args:
        path: The module's path in the denoiser.
        kind: `"cross-attention"` and `"self-attention"` (the attention module's output), `"block"` (the transformer
            block's), `"resnet"`, `"norm"` (layer and group norms) or `"mid-block"`.
        channels: Width of the output.
        layout: `"tokens"` (batch, positions, channels) or `"map"` (batch, channels, height, width).
    """

    path: str
    kind: str
    channels: int
    layout: Layout = "tokens"


def all_sites(denoiser: nn.Module) -> list[Site]:
    """List every site of a denoiser, in the order of its modules.

    The attention module is a site, never its `to_out.0`: a LoRA there would slip in behind the steering.

    Args:
        denoiser: A U-Net with cross-attention.
    """
    sites = []
    for path, module in denoiser.named_modules():
        if isinstance(module, Attention):
            kind = "cross-attention" if module.is_cross_attention else "self-attention"
            sites.append(Site(path, kind, module.out_dim))
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


def find_sites(denoiser: nn.Module, wanted: str | Sequence[str] = "auto") -> list[Site]:
    """Choose sites by preset or by pattern.

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
        matching = [s for s in known if (s.kind in kinds if kinds else fnmatchcase(s.path, pattern))]
        if not matching:
            raise InputError(
                f"sites={pattern!r} matches nothing in this {type(denoiser).__name__}. Use a preset "
                f"({', '.join(PRESETS)}) or a pattern over its {len(known)} sites, which have names like "
                f"{known[0].path!r} and {known[-1].path!r}."
            )
        chosen |= {site.path: site for site in matching}
    return list(chosen.values())
