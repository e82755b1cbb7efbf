"""What every reader of a model's calls offers."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from .calls import Call


class Reader(ABC):
    """Reads the calls of a model before it runs, as a context manager or until `remove`; nothing is changed."""

    @property
    @abstractmethod
    def call(self) -> Call:
        """The call that is running.

        Raises:
            InputError: If none has run yet.
        """

    @property
    @abstractmethod
    def run(self) -> object:
        """What stands for the running run: another object in each."""

    @abstractmethod
    def remove(self) -> None:
        """Stop reading. Harmless when called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
