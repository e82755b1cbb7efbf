"""The hooks at single modules: what steers a module's output, and what steers the heads of an attention module."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.hooks import ModelHook
from jaxtyping import Float
from torch import Tensor, nn

from ..core.features import from_positions
from ..core.steer import steer
from .sites import Site
from .steered_site import SteeredSite

if TYPE_CHECKING:
    from .attachment import Attachment


@dataclass
class Place:
    """A site at a hooked module, and what it is hooked for.

    Args:
        site: Where.
        steered: What is done there; `None` where gates of other sites only read.
        readers: Sites whose gates read here, each with the factor that it reads.
    """

    site: Site
    steered: SteeredSite | None
    readers: Sequence[tuple[SteeredSite, str]]


class SiteHook(ModelHook):
    """Reads the places of one module for gates, then steers them; each is read as it was before any was steered.

    Its tensors stay outside the model's tree.

    Args:
        places: The sites of one module.
        attachment: Whose state the hooks share.
    """

    def __init__(self, places: Sequence[Place], attachment: "Attachment") -> None:
        super().__init__()
        self.places, self.attachment = places, attachment
        self._device: torch.device | None = None

    def changes(self, whole: Tensor) -> list[tuple[Site, Float[Tensor, "rows positions channels"]]]:
        """Give the steered version of each site that is steered.

        Args:
            whole: The module's activation, which stays as it is.
        """
        if self._device != whole.device:
            self._move(whole.device)
        found = [(place, place.site.of(whole)) for place in self.places]
        for place, activation in found:
            self._keep_reading(place, activation)
        return [(place.site, self._steered(place.steered, activation)) for place, activation in found if place.steered]

    def _keep_reading(self, place: Place, activation: Tensor) -> None:
        read: dict[tuple[int, str], Tensor] = {}  # sites may share a gate, which is then asked once
        for reader, factor in place.readers:
            key = id(reader.gate), factor
            if key not in read:
                read[key] = reader.gate.factor(factor, activation)
            self.attachment.keep_reading(reader.site.path, factor, read[key])

    def _steered(self, steered: SteeredSite, activation: Tensor) -> Tensor:
        path, gate = steered.site.path, steered.gate
        scores = gate.joined(
            *(
                self.attachment.reading(path, factor, activation)
                if factor in steered.reads
                else gate.factor(factor, activation)
                for factor in gate.factors
            )
        )
        if gate.unit == "prompt":
            scores = self.attachment.decided(path, scores)
        self.attachment.record(path, scores)
        weight = self.attachment.weights_of_rows()[:, None] * (scores * steered.weight)
        return steer(activation, steered.method(activation), weight)

    def _move(self, device: torch.device) -> None:
        for place in self.places:
            for reader, _ in place.readers:
                reader.gate.to(device)
            if place.steered is not None:
                place.steered.gate.to(device)
                place.steered.method.to(device)
        self._device = device


class OutputHook(SiteHook):
    """Replaces a module's output by its steered version."""

    def post_forward(self, module: nn.Module, output: Tensor) -> Tensor:
        for site, positions in self.changes(output):
            output = from_positions(positions, output, site.layout)
        return output


class HeadsHook(SiteHook):
    """Replaces the input of an attention module's output projection; heads that are not steered stay bit for bit."""

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        whole: Tensor = args[0]
        changes = self.changes(whole)
        if changes:
            whole = whole.clone()
            for site, positions in changes:
                whole[..., site.part] = positions
        return (whole, *args[1:]), kwargs
