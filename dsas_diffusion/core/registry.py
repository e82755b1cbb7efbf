"""Classes by name: every file of a package that defines one is found without a list to edit."""

import difflib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, Generic, TypeVar

from ..errors import InputError


class Named:
    """A class that can be chosen by name."""

    name: ClassVar[str]


T = TypeVar("T", bound=Named)


class Registry(Mapping[str, type[T]], Generic[T]):
    """Maps the `name` of each concrete class in a package to the class.

    The package's modules are imported at the first look-up, so that a new class is one new file. Other distributions
    add classes as entry points, in the group that is called as the package is.

    Args:
        package: Full name of the package to search.
        kind: What the classes are, for messages: `"steering method"`, `"gate"`.
    """

    def __init__(self, package: str, kind: str) -> None:
        self._package, self._kind = package, kind
        self._found: dict[str, type[T]] | None = None

    def _classes(self) -> dict[str, type[T]]:
        if self._found is None:
            base = import_module(f"{self._package}.base")
            found: dict[str, type[T]] = {}
            for info in pkgutil.iter_modules(import_module(self._package).__path__, f"{self._package}."):
                for _, cls in inspect.getmembers(import_module(info.name), inspect.isclass):
                    is_base = inspect.isabstract(cls) and "name" not in vars(cls)
                    if issubclass(cls, base.REGISTERED) and cls.__module__ == info.name and not is_base:
                        _check_finished(cls, self._kind)
                        _check_free(cls, found, f"The {self._kind} {_path(cls)}")
                        found[cls.name] = cls
            for entry in entry_points(group=self._package):
                cls = _loaded(entry, base.REGISTERED, self._kind)
                _check_free(cls, found, f"The {self._kind} of the entry point {entry.value!r}")
                found[cls.name] = cls
            self._found = dict(sorted(found.items()))
        return self._found

    def __getitem__(self, name: str) -> type[T]:
        classes = self._classes()
        if name not in classes:
            close = difflib.get_close_matches(str(name), classes, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UnknownNameError(f"There is no {self._kind} {name!r}.{hint} Choose one of: {', '.join(classes)}.")
        return classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes())

    def __len__(self) -> int:
        return len(self._classes())

    def register(self, cls: type[T]) -> type[T]:
        """Add a class that lives outside the package. Usable as a decorator.

        Args:
            cls: The class; its `name` is the key.

        Returns:
            The same class.

        Raises:
            InputError: If it is not finished, or another class has its name. The same one, defined again, takes its
                place.
        """
        known = self._classes()
        _check_finished(cls, self._kind)
        if cls.name in known and _path(known[cls.name]) != _path(cls):
            _check_free(cls, known, f"The {self._kind} {_path(cls)}")
        known[cls.name] = cls
        return cls


def _check_finished(cls: type[Named], kind: str) -> None:
    if left := sorted(getattr(cls, "__abstractmethods__", ())):
        raise InputError(
            f"The {kind} {_path(cls)} is not finished: it has a name, but lacks {', '.join(left)}. Define them."
        )
    if "name" not in vars(cls):
        raise InputError(f"The {kind} {_path(cls)} has no name of its own. Set the name by which it is asked for.")


def _check_free(cls: type[Named], found: Mapping[str, type[Named]], what: str) -> None:
    if cls.name in found:
        raise InputError(
            f"{what} is called {cls.name!r}, but {_path(found[cls.name])} is so already. Give it another name."
        )


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _loaded(entry: EntryPoint, base: type, kind: str) -> Any:
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"The {kind} {entry.name!r} can't be loaded from its entry point {entry.value!r}: {error}. Mend or "
            "uninstall the distribution that brings it."
        ) from error
    if not inspect.isclass(found) or not issubclass(found, base) or inspect.isabstract(found):
        raise InputError(
            f"The entry point {entry.value!r} brings {found!r}, which is no finished {base.__name__}. Let it name a "
            "class that derives from it."
        )
    return found


class UnknownNameError(InputError, KeyError):
    """A name that no registered class has; also a `KeyError`, as for any mapping."""

    def __str__(self) -> str:
        return ValueError.__str__(self)


def settings_of(instance: object) -> dict[str, Any]:
    """Read back the arguments that an instance was made with; `__init__` stores each under its own name."""
    parameters = inspect.signature(type(instance)).parameters.values()
    return {p.name: getattr(instance, p.name) for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
