"""Listening to one method of one object, such as a pipeline's."""

import functools
from collections.abc import Callable
from typing import Any, Self


class Tap:
    """Stands in for an object's method and tells listeners when it runs; one for all of them.

    Args:
        owner: The object.
        name: The method's name.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self._owner, self._name, self._original = owner, name, getattr(owner, name)
        self._own = name in vars(owner)
        functools.update_wrapper(self, self._original, updated=())  # who asks for its signature gets the method's
        self._listeners: list[Listener] = []
        setattr(owner, name, self)

    @classmethod
    def of(cls, owner: Any, name: str) -> Self:
        """The object's own."""
        found = getattr(owner, name)
        return found if isinstance(found, cls) else cls(owner, name)

    def add(self, listener: "Listener") -> None:
        """One listener more."""
        self._listeners.append(listener)

    def release(self, listener: "Listener") -> None:
        """One listener less; the last one takes it out."""
        self._listeners.remove(listener)
        if not self._listeners and vars(self._owner).get(self._name) is self:
            delattr(self._owner, self._name)
            if self._own:
                setattr(self._owner, self._name, self._original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            for listener in self._listeners:
                listener.before()
                listener.asked(args, kwargs)
            returned = self._original(*args, **kwargs)
            for listener in self._listeners:
                listener.after(returned)
        finally:
            for listener in self._listeners:
                listener.ended()
        return returned


class Listener:
    """Listens to an object's method from its making until `remove`.

    Args:
        owner: The object.
        name: The method's name.
        before: Called before it runs.
        asked: Called after that with its arguments, positional ones and others.
        after: Called with what it gave.
        ended: Called when it is over, also if it failed.
    """

    def __init__(
        self,
        owner: Any,
        name: str,
        before: Callable[[], object] = lambda: None,
        asked: Callable[[tuple[Any, ...], dict[str, Any]], object] = lambda args, kwargs: None,
        after: Callable[[Any], object] = lambda returned: None,
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self.before, self.asked, self.after, self.ended = before, asked, after, ended
        self._tap: Tap | None = Tap.of(owner, name)
        self._tap.add(self)

    def remove(self) -> None:
        """Stop listening. Harmless when called again."""
        if self._tap is not None:
            self._tap.release(self)
            self._tap = None
