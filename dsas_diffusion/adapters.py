"""Steering as an adapter, like a LoRA: load, set, switch off and on, unload, on any pipeline object."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .errors import InputError
from .hooks.attached_concept import checked_strength
from .hooks.attachment import Attachment, checked_max_change, refuse_cached
from .hooks.steerer import Steerer

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

#: λ as it may be given: one number, or one per prompt of the batch.
Strength = float | Sequence[float]
#: Where a pipeline keeps its steering.
_PLACE: Final = "_dsas_adapters"


class _Adapters:
    """The steerers of one pipeline by name, and λ of those that are on."""

    def __init__(self, pipe: "DiffusionPipeline") -> None:
        self.pipe = pipe
        self.loaded: dict[str, Steerer] = {}
        self.active: dict[str, Strength] = {}
        self.enabled = True
        self.max_change: float | None = None
        self._attachments: list[Attachment] = []

    @classmethod
    def of(cls, pipe: "DiffusionPipeline") -> "_Adapters":
        """The pipeline's own."""
        return vars(pipe).setdefault(_PLACE, cls(pipe))

    def apply(self, loaded: dict[str, Steerer], active: dict[str, Strength], enabled: bool = True) -> None:
        """Bring the pipeline to a state; what is wrong with it is said before anything is changed."""
        if unknown := sorted(active.keys() - loaded.keys()):
            raise InputError(_unknown(unknown[0], loaded))
        now = {name: attachment for attachment in self._attachments for name in attachment.concepts}
        same = set(now) == set(active) and all(one.max_change == self.max_change for one in self._attachments)
        if enabled and same:
            checked = {name: checked_strength(λ) for name, λ in active.items()}
            for name, strength in checked.items():  # in place: cheap, and a compiled model needs no new graph
                now[name].set_strength(strength, name)
        else:
            prepared = [
                (loaded[name].host(self.pipe), loaded[name].prepared(self.pipe, λ, name=name))
                for name, λ in active.items()
                if enabled
            ]
            hosts = {type(host): host for host, _ in prepared}
            for host in hosts.values():
                refuse_cached(host)  # before anything is taken off, which could not be put back on top of a cache
            before = self._detach()
            try:
                for kind, host in hosts.items():
                    concepts = [concept for its, concept in prepared if type(its) is kind]
                    self._attachments.append(Attachment(host, concepts, self.max_change))
            except BaseException:
                self._detach()
                self._attachments = [Attachment(a.host, list(a.concepts.values()), a.max_change) for a in before]
                raise
        self.loaded, self.active, self.enabled = loaded, active, enabled

    def _detach(self) -> list[Attachment]:
        """Take all of it off, and give what was on."""
        gone, self._attachments = self._attachments, []
        for attachment in gone:
            attachment.detach()
        return gone


def _unknown(name: str, loaded: Mapping[str, Steerer]) -> str:
    known = f"Loaded are {', '.join(loaded)}." if loaded else "None is loaded yet; load_steering does that."
    return f"There is no steering called {name!r} on this pipeline. {known}"


def load_steering(
    pipe: "DiffusionPipeline",
    source: "str | Path | Steerer",
    adapter_name: str | None = None,
    *,
    strength: Strength | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> None:
    """Load a steerer onto a pipeline and switch it on, beside those that are on already.

    Args:
        pipe: A pipeline with the denoiser, or the text encoders, that the steerer was fitted on.
        source: A folder, a hub id (`"user/banana-off"`), or a steerer.
        adapter_name: How it is called from here on; `None` for the concept's label.
        strength: λ; `None` for the steerer's own.
        revision: Branch, tag or commit on the hub.
        token: Access token for private repositories.

    Raises:
        InputError: If it can't be loaded, is another model's, its name is taken, λ is not finite, or the denoiser is
            steered by hand or has a cache enabled.
    """
    steerer = source if isinstance(source, Steerer) else Steerer.from_pretrained(source, revision=revision, token=token)
    name = adapter_name or steerer.concept
    mine = _Adapters.of(pipe)
    if name in mine.loaded:
        raise InputError(
            f"There is a steering called {name!r} on this pipeline already. Give adapter_name= another name, or call "
            f"delete_steering(pipe, {name!r}) first."
        )
    own = steerer.strength if strength is None else strength
    mine.apply({**mine.loaded, name: steerer}, {**mine.active, name: own}, mine.enabled)


def set_steering(
    pipe: "DiffusionPipeline",
    strengths: Mapping[str, Strength] | Sequence[str] | str,
    max_change: float | None = None,
) -> None:
    """Switch on exactly the steerings that are named; their changes add.

    Args:
        pipe: The pipeline.
        strengths: λ by name, `{"banana": 1.5, "apple": 2.0}`; or names alone, each with its steerer's own λ.
        max_change: The longest change at a position, as a share of the activation's own length there, above 0; `None`
            for no limit.

    Raises:
        InputError: If a name is unknown, a λ is not finite, `max_change` is not positive, or the denoiser is steered by
            hand or has a cache enabled.
    """
    mine = _Adapters.of(pipe)
    if not isinstance(strengths, Mapping):
        names = [strengths] if isinstance(strengths, str) else list(strengths)
        strengths = {name: mine.loaded[name].strength if name in mine.loaded else 0.0 for name in names}
    before, mine.max_change = mine.max_change, checked_max_change(max_change)
    try:
        mine.apply(mine.loaded, dict(strengths))
    except BaseException:
        mine.max_change = before
        raise


def enable_steering(pipe: "DiffusionPipeline") -> None:
    """Switch on again what `disable_steering` has switched off.

    Args:
        pipe: The pipeline.

    Raises:
        InputError: If the denoiser has been steered by hand or got a cache meanwhile.
    """
    mine = _Adapters.of(pipe)
    mine.apply(mine.loaded, mine.active)


def disable_steering(pipe: "DiffusionPipeline") -> None:
    """Switch all steering off, without forgetting it; the pipeline then draws as if nothing were loaded.

    Args:
        pipe: The pipeline.
    """
    mine = _Adapters.of(pipe)
    mine.apply(mine.loaded, mine.active, enabled=False)


def delete_steering(pipe: "DiffusionPipeline", names: Sequence[str] | str) -> None:
    """Forget some of the loaded steerings.

    Args:
        pipe: The pipeline.
        names: Which.

    Raises:
        InputError: If a name is unknown.
    """
    mine = _Adapters.of(pipe)
    gone = [names] if isinstance(names, str) else list(names)
    if unknown := sorted(set(gone) - mine.loaded.keys()):
        raise InputError(_unknown(unknown[0], mine.loaded))
    kept = {name: steerer for name, steerer in mine.loaded.items() if name not in gone}
    mine.apply(kept, {name: λ for name, λ in mine.active.items() if name in kept}, mine.enabled)


def unload_steering(pipe: "DiffusionPipeline") -> None:
    """Forget all of it; no trace of steering is left in the pipeline.

    Args:
        pipe: The pipeline.
    """
    _Adapters.of(pipe).apply({}, {})
    del vars(pipe)[_PLACE]


def get_active_steering(pipe: "DiffusionPipeline") -> dict[str, Strength]:
    """Give λ of the steerings that are on, by name.

    Args:
        pipe: The pipeline.
    """
    mine = vars(pipe).get(_PLACE)
    return dict(mine.active) if mine is not None and mine.enabled else {}


def get_list_steering(pipe: "DiffusionPipeline") -> list[str]:
    """Give the names of all that is loaded, on or off.

    Args:
        pipe: The pipeline.
    """
    mine = vars(pipe).get(_PLACE)
    return [] if mine is None else list(mine.loaded)


class SteeringMixin:
    """The same verbs as a pipeline's methods, and `steering_strength=` in its call.

    Put it in front of a pipeline class: `class SteeredFluxPipeline(SteeringMixin, FluxPipeline)`. A call then takes
    `steering_strength`: λ for this call alone, as one number or one per prompt for all steerings that are on, or by
    name; 0 draws as if nothing were loaded. Another λ where nothing is on raises an `InputError`.

    `save_pretrained` writes the pipeline under the name of the class behind the mixin, so that anyone can load it
    without this package; steerers are saved by their own `save_pretrained`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" not in vars(cls):
            setattr(cls, "__call__", _with_strength(cls.__call__))  # noqa: B010 - the class's own, in front of Diffusers'

    def to_json_string(self) -> str:
        """Give the pipeline's settings as JSON, under the plain class's name where the components are the same."""
        settings = json.loads(super().to_json_string())  # ty: ignore[missing-attribute]
        kinds = type(self).__mro__
        plain = kinds[kinds.index(SteeringMixin) + 1]
        if type(self).__init__ is plain.__init__:
            settings["_class_name"] = plain.__name__
        return json.dumps(settings, indent=2, sort_keys=True) + "\n"

    def load_steering(self, source: "str | Path | Steerer", adapter_name: str | None = None, **settings: Any) -> None:
        """See :func:`load_steering`."""
        load_steering(self, source, adapter_name, **settings)  # ty: ignore[invalid-argument-type]

    def set_steering(
        self, strengths: Mapping[str, Strength] | Sequence[str] | str, max_change: float | None = None
    ) -> None:
        """See :func:`set_steering`."""
        set_steering(self, strengths, max_change)  # ty: ignore[invalid-argument-type]

    def enable_steering(self) -> None:
        """See :func:`enable_steering`."""
        enable_steering(self)  # ty: ignore[invalid-argument-type]

    def disable_steering(self) -> None:
        """See :func:`disable_steering`."""
        disable_steering(self)  # ty: ignore[invalid-argument-type]

    def delete_steering(self, names: Sequence[str] | str) -> None:
        """See :func:`delete_steering`."""
        delete_steering(self, names)  # ty: ignore[invalid-argument-type]

    def unload_steering(self) -> None:
        """See :func:`unload_steering`."""
        unload_steering(self)  # ty: ignore[invalid-argument-type]

    def get_active_steering(self) -> dict[str, Strength]:
        """See :func:`get_active_steering`."""
        return get_active_steering(self)  # ty: ignore[invalid-argument-type]

    def get_list_steering(self) -> list[str]:
        """See :func:`get_list_steering`."""
        return get_list_steering(self)  # ty: ignore[invalid-argument-type]


def _check_used(strength: Strength, mine: _Adapters) -> None:
    """Refuse a λ with which nothing would be steered."""
    if not any(checked_strength(strength)) or (mine.enabled and mine.active):
        return
    how = (
        "steering is disabled on this pipeline. Call enable_steering() first"
        if not mine.enabled
        else "no steering is on. Call load_steering() or set_steering() first, or give λ by name"
    )
    raise InputError(f"steering_strength={strength}, but {how}; leave it out to draw unsteered.")


def _with_strength(call: Callable[..., Any]) -> Callable[..., Any]:
    """Give a pipeline's call one more keyword, visible in its signature."""

    @functools.wraps(call)
    def steered(
        self: Any, *args: Any, steering_strength: Strength | Mapping[str, Strength] | None = None, **kwargs: Any
    ) -> Any:
        if steering_strength is None:
            return call(self, *args, **kwargs)
        mine = _Adapters.of(self)
        before = mine.active
        named = steering_strength
        if not isinstance(named, Mapping):
            _check_used(named, mine)
            named = dict.fromkeys(before, named)
        elif not mine.enabled:
            for strength in named.values():
                _check_used(strength, mine)
        mine.apply(mine.loaded, {**before, **named}, mine.enabled)
        try:
            return call(self, *args, **kwargs)
        finally:
            mine.apply(mine.loaded, before, mine.enabled)

    signature = inspect.signature(call)
    added = inspect.Parameter("steering_strength", inspect.Parameter.KEYWORD_ONLY, default=None)
    parameters = sorted([*signature.parameters.values(), added], key=lambda parameter: parameter.kind)
    vars(steered)["__signature__"] = signature.replace(parameters=parameters)
    return steered
