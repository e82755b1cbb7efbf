"""The base of maps that scale and shift each channel, with a support outside which a channel is left alone."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.registry import settings_of
from ..core.trainable import TrainableMap, Units
from ..errors import InputError
from .base import SteeringMethod, finite

Support = Literal["positions", "pooled", "none"]
#: An end of a support that ends nowhere.
_LARGEST: Final = torch.finfo(torch.float32).max


class AffineMap(SteeringMethod, TrainableMap):
    """T(t) = w ⊙ t + b where lo ≤ t ≤ hi, channel by channel; t elsewhere.

    Subclasses learn w and b in `learned`. The support [lo, hi] keeps a map to what it has seen, as
    arXiv 2410.23054 (section 3.2) does; there it is tested on averages, here by default on single positions.

    Args:
        support: `"positions"`: lo and hi are quantiles of single source positions, and each position is tested by
            itself (ours). `"pooled"`: lo and hi are the smallest and largest average seen, the picture's average is
            tested, and its shift T(t̄) − t̄ is added to every position (the paper's code). `"none"`: everywhere.
        quantile: For `"positions"`: the share of values cut off at each end, in [0, 0.5).

    Raises:
        InputError: If a setting is out of range.
    """

    scale: Tensor
    shift: Tensor
    low: Tensor
    high: Tensor
    #: Whether w may differ from 1.
    scales: ClassVar[bool] = True

    def __init__(self, support: Support = "positions", quantile: float = 0.005) -> None:
        super().__init__()
        if support not in get_args(Support):
            raise InputError(f"support must be one of {', '.join(map(repr, get_args(Support)))}, but is {support!r}.")
        if not 0 <= quantile < 0.5:
            raise InputError(f"quantile must be in [0, 0.5), but is {quantile}. The default is 0.005.")
        self.support, self.quantile = support, quantile
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the map becomes the identity."""
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("low", torch.full((channels,), -_LARGEST))
        self.register_buffer("high", torch.full((channels,), _LARGEST))
        return self

    @abstractmethod
    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> tuple[Float[Tensor, "channels"], Float[Tensor, "channels"]]:
        """Give w and b.

        Args:
            source: Finite source activations.
            target: Finite target activations.
        """

    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Learn w and b, and the support of what was handed in.

        Args:
            source: Source activations.
            target: Target activations.

        Raises:
            InputError: If an activation is not finite, or every source channel is constant.
        """
        source, target = finite("source", source), finite("target", target)
        if self.scales:
            _check_spread(source)
        scale, shift = self.learned(source, target)
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.float())
        if self.support != "none":
            self._keep_to(source, self.quantile if self.support == "positions" else 0.0)
        return self

    @property
    def averages(self) -> bool:
        """Whether the support is tested on the picture's average."""
        return self.support == "pooled"

    def see_positions(self, positions: Float[Tensor, "k channels"]) -> None:
        """Take the support from single source positions, if it is tested on such.

        Args:
            positions: Their activations.
        """
        if self.support == "positions":
            self._keep_to(finite("source", positions), self.quantile)

    def _keep_to(self, seen: Tensor, cut: float) -> None:
        columns, count = seen.T.contiguous(), 1 + int(cut * len(seen))
        self.register_buffer("low", columns.topk(count, largest=False, sorted=False).values.amax(dim=1))
        self.register_buffer("high", columns.topk(count, sorted=False).values.amin(dim=1))

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Scale and shift what lies in the support."""
        t = activation.float()
        if self.support == "pooled":
            mean = t.mean(dim=-2, keepdim=True) if t.ndim > 1 else t
            return (t + self._change(mean)).to(activation.dtype)
        return (t + self._change(t)).to(activation.dtype)

    def _change(self, t: Tensor) -> Tensor:
        change = (self.scale - 1) * t + self.shift
        return torch.where((t >= self.low) & (t <= self.high), change, torch.zeros_like(change))

    def parameters_in(self, units: Units) -> dict[str, Tensor]:
        """Give w − 1, and the shift at the site's mean, in units of its spread.

        Args:
            units: Of the site.
        """
        scale = self.scale - 1
        return {"scale": scale, "shift": (scale * units.mean + self.shift) / units.spread}

    def follow(self, parameters: Mapping[str, Tensor], units: Units) -> None:
        """Set w and b from parameters.

        Args:
            parameters: As given by `parameters_in`.
            units: Of the site.
        """
        self.register_buffer("scale", 1 + parameters["scale"])
        self.register_buffer("shift", units.spread * parameters["shift"] - parameters["scale"] * units.mean)

    def touched(self) -> int:
        """Count the channels that the map changes at all: its support size."""
        return int(((self.scale != 1) | (self.shift != 0)).sum())

    def inverse(self) -> "AffineMap":
        """Give T⁻¹(t) = (t − b) / w with the support's image for its support: a removal becomes an induction.

        Raises:
            InputError: If a channel is scaled by 0, so that nothing leads back.

        References:
            LinEAS, arXiv 2503.10679, appendix on concept induction.
        """
        if (self.scale == 0).any():
            raise InputError(
                f"{int((self.scale == 0).sum())} channels are scaled by 0, so this {self.name} map has no inverse."
            )
        ends = torch.stack([self.scale * end + self.shift for end in (self.low, self.high)]).clamp(-_LARGEST, _LARGEST)
        turned = type(self)(**settings_of(self)).reset(len(self.scale))
        turned.register_buffer("scale", 1 / self.scale)
        turned.register_buffer("shift", -self.shift / self.scale)
        turned.register_buffer("low", ends.amin(0))
        turned.register_buffer("high", ends.amax(0))
        return turned


def _check_spread(source: Tensor) -> None:
    if len(source) < 2 or not (source != source[0]).any():
        raise InputError(
            f"All {len(source)} source activations are alike in every channel, so no scale can be learned from them. "
            "Use more prompts or steps, or a method that only shifts, such as caa."
        )
