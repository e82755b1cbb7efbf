"""The hooks at single modules: what steers a module's output, and what steers the heads of an attention module."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from diffusers.hooks import ModelHook
from jaxtyping import Float
from torch import Tensor, nn

from ..core.features import from_positions, to_positions
from ..core.steer import added
from ..errors import InputError
from .attached_site import AttachedSite
from .attention_processor import Listening, joined, parted
from .discovery import image_index
from .sites import Site, image_in, with_image_in

if TYPE_CHECKING:
    from .attachment import Attachment


@dataclass
class Place:
    """A site at a hooked module, and what it is hooked for.

    Args:
        site: Where.
        steered: What each concept does there; none where gates of other sites only read.
        readers: Whose gates read here, and which factor.
    """

    site: Site
    steered: list[AttachedSite] = field(default_factory=list)
    readers: list[tuple[AttachedSite, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.part = self.site.part  # told once: read off the path, it would make a graph of its own for every site

    def of(self, whole: Tensor) -> Float[Tensor, "rows positions channels"]:
        """View the site's activation in the whole of what is hooked.

        Args:
            whole: As `Site.of` takes it.
        """
        return to_positions(whole, self.site.layout_of(whole))[..., self.part]


class SiteHook(ModelHook):
    """Reads the places of one module for gates, then steers them; each is read as it was before any was steered.

    Its tensors stay outside the model's tree.

    Args:
        places: The sites of one module.
        attachment: Whose state the hooks share.
        module: The module.

    Attributes:
        reached: Whether the module has run in this run of the pipeline.
    """

    def __init__(self, places: Sequence[Place], attachment: "Attachment", module: nn.Module) -> None:
        super().__init__()
        self.places, self.attachment, self.reached = places, attachment, False
        self.index = image_index(type(module))
        self._device: torch.device | None = None
        home = next((parameter.device for parameter in module.parameters()), None)
        if home is not None and home.type != "meta":  # before it is compiled: torch 2.6 can't trace the move
            self._move(home)

    def changes(self, whole: Tensor) -> list[tuple[Place, Float[Tensor, "rows positions channels"]]]:
        """Give the steered version of each place that is steered.

        Args:
            whole: The module's activation, which stays as it is.
        """
        if self._device != whole.device:
            self._move(whole.device)
        self.reached = True
        call = self.attachment.call
        if len(whole) != call.rows:
            raise InputError(
                f"{self.places[0].site.path} runs with {len(whole)} rows, but the denoiser was called with "
                f"{call.rows}, so which of them follow the prompt can't be told. FasterCache does that when it skips "
                "the unconditional half: use another cache, or is_guidance_distilled=True where guidance is off."
            )
        found = [(place, place.of(whole)) for place in self.places]
        image = [call.positions_of(positions) for _, positions in found]
        for (place, _), activation in zip(found, image, strict=True):
            self._keep_reading(place, activation)
        return [
            (place, call.with_positions(positions, self._steered(place, activation)))
            for (place, positions), activation in zip(found, image, strict=True)
            if place.steered
        ]

    def with_changes(self, heads: Tensor) -> Tensor:
        """Give all heads of an attention module with those changed that are steered.

        Args:
            heads: (rows, positions, channels) side by side; they stay as they are.
        """
        changes = self.changes(heads)
        if changes:
            heads = heads.clone()
            for place, positions in changes:
                heads[..., place.part] = positions
        return heads

    def _keep_reading(self, place: Place, activation: Tensor) -> None:
        read: dict[tuple[int, str], Tensor] = {}  # sites may share a gate, which is then asked once
        for reader, factor in place.readers:
            gate = reader.steered.gate
            if (id(gate), factor) not in read:
                read[id(gate), factor] = gate.factor(factor, reader.concept.seen_by(gate, activation))
            reader.keep_reading(factor, read[id(gate), factor])

    def _steered(self, place: Place, activation: Tensor) -> Tensor:
        return added(activation, [steered(activation) for steered in place.steered], self.attachment.max_change)

    def _move(self, device: torch.device) -> None:
        for place in self.places:
            for site in [*place.steered, *(reader for reader, _ in place.readers)]:
                site.to(device)
        self._device = device


class OutputHook(SiteHook):
    """Replaces a module's output by its steered version."""

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        whole = image_in(output, self.index)
        for place, positions in self.changes(whole):
            layout = place.site.layout_of(whole)
            output = with_image_in(output, self.index, from_positions(positions, whole, layout))
        return output


class HeadsHook(SiteHook):
    """Replaces the input of an attention module's output projection; heads that are not steered stay bit for bit."""

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.with_changes(args[0]), *args[1:]), kwargs


class InsideHook(SiteHook):
    """Replaces heads inside an attention module, as its processor computes them; the others stay bit for bit."""

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        self.listening = Listening(module, self.places[0].site.module, self._change, change=True)
        return module

    def deinitalize_hook(self, module: nn.Module) -> nn.Module:
        self.listening.remove()
        return module

    def _change(self, heads: Tensor) -> Tensor:
        whole, call = joined(heads), self.attachment.call
        image = call.positions_of(whole).contiguous()  # as at a projection, of which each stream has its own
        return parted(call.with_positions(whole, self.with_changes(image)), heads.shape[1])
