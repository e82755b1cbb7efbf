"""For training: calls of a model, caught while it runs, and run again with maps that gradients reach."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..core.features import from_positions
from ..core.steer import steer
from .attention_processor import Listening, joined, parted
from .calls import Call
from .discovery import image_index
from .hosts import Host
from .sites import Handle, image_in, with_image_in
from .steered_site import SteeredSite


@dataclass(frozen=True)
class CaughtCall:
    """One call of a model or a part of it, reduced to some of its rows.

    Args:
        about: What it is.
        module: What was called.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    about: Call
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def step(self) -> int:
        """The run's step, from 0."""
        return self.about.step


class CallCatcher:
    """Keeps a model's calls on the conditional rows while it runs, as a context manager; nothing is changed.

    Args:
        host: The model.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.calls: list[CaughtCall] = []

    def __enter__(self) -> Self:
        self._reader = self.host.reader()
        self._handles = [
            part.register_forward_pre_hook(self._catch, with_kwargs=True) for part in self.host.called_parts()
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._reader.remove()

    def _catch(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = self._reader.call
        rows = call.conditional
        if rows.stop > rows.start:
            kept = _reduced(args, rows, call.rows), _reduced(kwargs, rows, call.rows)
            self.calls.append(CaughtCall(call.reduced_to(rows).only(self.host.tokens), module, *kept))


def _reduced(value: Any, rows: slice, total: int) -> Any:
    """Keep the given rows of every tensor that has one for each row of the call; views, so that nothing is doubled."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and len(value) == total else value
    if isinstance(value, Mapping):
        return {key: _reduced(inner, rows, total) for key, inner in value.items()}
    if isinstance(value, list) and len(value) == total:  # models whose batch is a list
        return value[rows]
    return tuple(_reduced(inner, rows, total) for inner in value) if isinstance(value, list | tuple) else value


class LiveSites:
    """Hooks through which gradients flow, as a context manager: they read sites and steer them with λ = 1.

    The model's own parameters need no gradients for as long as the context lasts; they come out as they went in.

    Args:
        model: The model.
        sites: What to steer; maps and gates are those handed in, not copies. They move to the model's device, and
            back to the processor in the end.
        gated: Steer by each site's gate and weight; else everywhere.
        checkpointing: Compute activations again on the way back instead of keeping them; for denoisers.
    """

    def __init__(
        self, model: Any, sites: Sequence[SteeredSite], gated: bool = False, checkpointing: bool = False
    ) -> None:
        self.model, self.sites, self.gated, self.checkpointing = model, list(sites), gated, checkpointing
        self._steering, self._reading = False, False
        self._seen: dict[str, Tensor] = {}
        self._handles: list[Handle] = []
        self._frozen: list[nn.Parameter] = []
        self._switched = False
        self._device = torch.device("cpu")

    def __enter__(self) -> Self:
        self._frozen = [p for p in self.model.parameters() if p.requires_grad]
        try:
            for parameter in self._frozen:
                parameter.requires_grad_(False)
            if self.checkpointing and not self.model.is_gradient_checkpointing:
                self.model.enable_gradient_checkpointing()
                self._switched = True
            self._hook()
        except BaseException:
            self._leave()
            raise
        return self

    def _hook(self) -> None:
        for place in dict.fromkeys(s.site.place for s in self.sites):
            here = [s for s in self.sites if s.site.place == place]
            path = here[0].site.module
            module = self.model.get_submodule(path)
            if here[0].site.is_inside:
                self._handles.append(Listening(module, path, self._inside(here), change=True))
            elif here[0].site.is_head:
                self._handles.append(module.register_forward_pre_hook(self._before(here)))
            else:
                self._handles.append(module.register_forward_hook(self._after(here[0])))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        while self._handles:
            self._handles.pop().remove()
        if self._switched:
            self.model.disable_gradient_checkpointing()
            self._switched = False
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._move(torch.device("cpu"))

    def _move(self, device: torch.device) -> None:
        for steered in self.sites:
            steered.gate.to(device)
            steered.method.to(device)
        self._device = device

    def run(self, call: CaughtCall, steering: bool) -> dict[str, Float[Tensor, "rows positions channels"]]:
        """Run a call again.

        Args:
            call: The call.
            steering: Whether to steer; else nothing is changed and no gradient is kept.

        Returns:
            Activations by site, after steering.
        """
        if self._device != call.about.device:
            self._move(call.about.device)
        self._call = call.about
        self._steering, self._reading = steering, True
        self._seen = {}
        try:
            with torch.set_grad_enabled(steering):
                call.module(*call.args, **call.kwargs)
        finally:
            self._reading = False
        return self._seen

    def _after(self, steered: SteeredSite) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
        def replace(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            index = image_index(type(module))
            whole = image_in(output, index)
            positions = from_positions(self._steered(steered, whole), whole, steered.site.layout_of(whole))
            return with_image_in(output, index, positions)

        return replace

    def _before(self, heads: Sequence[SteeredSite]) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def replace(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (self._with_heads(heads, args[0]), *args[1:])

        return replace

    def _inside(self, heads: Sequence[SteeredSite]) -> Callable[[Tensor], Tensor]:
        def replace(given: Tensor) -> Tensor:
            return parted(self._with_heads(heads, joined(given)), given.shape[1])

        return replace

    def _with_heads(self, heads: Sequence[SteeredSite], given: Tensor) -> Tensor:
        whole = given.clone()
        for steered in heads:
            whole[..., steered.site.part] = self._steered(steered, given).to(whole.dtype)
        return whole

    def _steered(self, steered: SteeredSite, whole: Tensor) -> Float[Tensor, "rows positions channels"]:
        positions = steered.site.of(whole)
        activation = self._call.positions_of(positions)
        if self._steering:
            h = steered.gate(activation) * steered.weight if self.gated else activation.new_ones(activation.shape[:2])
            activation = steer(activation, steered.method(activation), h)
        if self._reading:  # with checkpointing the hook runs once more on the way back
            self._seen[steered.site.path] = activation
        return self._call.with_positions(positions, activation)
