"""Sites: name patterns and presets to modules, with their channels and layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import nn

from ..core.features import Layout
from ..errors import InputError

#: Preset → kinds of site. `auto` is where the text keeps naming the concept at every step. The blocks that hold the
#: cross-attention need more strength for the same removal and touch control pictures more (`benchmarks.strength`).
PRESETS: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("cross-attention",),
    "cross-attention": ("cross-attention",),
    "blocks": ("block",),
}


@dataclass(frozen=True)
class Site:
    """One module output where activations are read and changed.

    Args:
        path: The module's path in the denoiser.
        kind: `"cross-attention"` (the attention module's output) or `"block"` (the transformer block's).
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
        if isinstance(module, Attention) and path.endswith(".attn2") and module.is_cross_attention:
            sites.append(Site(path, "cross-attention", module.out_dim))
        elif isinstance(module, BasicTransformerBlock):
            sites.append(Site(path, "block", module.dim))
    return sites


def find_sites(denoiser: nn.Module, wanted: str | Sequence[str] = "auto") -> list[Site]:
    """Choose sites by preset or by pattern.

    Args:
        denoiser: A U-Net with cross-attention.
        wanted: A preset (`"auto"`, `"cross-attention"`, `"blocks"`), a path, a shell-style pattern
            (`"up_blocks.*.attn2"`), or several of these.

    Returns:
        The sites, each once.

    Raises:
        InputError: If the denoiser has no sites, or a pattern matches none of them.
    """
    known = all_sites(denoiser)
    if not known:
        raise InputError(
            f"{type(denoiser).__name__} has no cross-attention output or transformer block that can be steered. "
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
