"""Listening to one method of one pipeline object."""

from collections.abc import Callable
from typing import Any, Self

from diffusers.pipelines.pipeline_utils import DiffusionPipeline


class Tap:
    """Stands in for a pipeline's method and tells listeners when it runs; one for all of them.

    Args:
        pipe: The pipeline.
        name: The method's name.
    """

    def __init__(self, pipe: DiffusionPipeline, name: str) -> None:
        self._pipe, self._name, self._original = pipe, name, getattr(pipe, name)
        self._own = name in vars(pipe)
        self._listeners: list[Listener] = []
        setattr(pipe, name, self)

    @classmethod
    def of(cls, pipe: DiffusionPipeline, name: str) -> Self:
        """The pipeline's own."""
        found = getattr(pipe, name)
        return found if isinstance(found, cls) else cls(pipe, name)

    def add(self, listener: "Listener") -> None:
        """One listener more."""
        self._listeners.append(listener)

    def release(self, listener: "Listener") -> None:
        """One listener less; the last one takes it out."""
        self._listeners.remove(listener)
        if not self._listeners and vars(self._pipe).get(self._name) is self:
            delattr(self._pipe, self._name)
            if self._own:
                setattr(self._pipe, self._name, self._original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for listener in self._listeners:
            listener.before()
        returned = self._original(*args, **kwargs)
        for listener in self._listeners:
            listener.after(returned)
        return returned


class Listener:
    """Listens to a pipeline's method from its making until `remove`.

    Args:
        pipe: The pipeline.
        name: The method's name.
        before: Called before it runs.
        after: Called with what it gave.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        name: str,
        before: Callable[[], object] = lambda: None,
        after: Callable[[Any], object] = lambda returned: None,
    ) -> None:
        self.before, self.after = before, after
        self._tap: Tap | None = Tap.of(pipe, name)
        self._tap.add(self)

    def remove(self) -> None:
        """Stop listening. Harmless when called again."""
        if self._tap is not None:
            self._tap.release(self)
            self._tap = None
