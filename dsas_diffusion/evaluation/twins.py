"""Twins by a detector: of what was drawn unsteered, what steering removed, kept and invented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from .base import Measure, share
from .presence import label_matrix, presence_matrix, present


def count_removed(unsteered: torch.Tensor, steered: torch.Tensor) -> tuple[int, int]:
    """Removal = |U ∧ ¬S| / |U|: of the pictures that showed the concept unsteered, those that no longer do.

    Args:
        unsteered: (n,) bool U, whether the unsteered picture shows the concept.
        steered: (n,) bool S, the same for its steered twin.

    Returns:
        |U ∧ ¬S| and |U|: sums over pictures, to be divided at the end.
    """
    return int((unsteered & ~steered).sum()), int(unsteered.sum())


def count_kept(asked: torch.Tensor, unsteered: torch.Tensor, steered: torch.Tensor) -> tuple[int, int]:
    """Kept = |A ∧ U ∧ S| / |A ∧ U|: of the named objects drawn unsteered, those still there with steering.

    Args:
        asked: (n, k) bool A, whether prompt i names object j.
        unsteered: (n, k) bool U, whether its unsteered picture shows the object.
        steered: (n, k) bool S, the same for the steered twin.

    Returns:
        |A ∧ U ∧ S| and |A ∧ U|.
    """
    drawn = asked & unsteered
    return int((drawn & steered).sum()), int(drawn.sum())


def invented(asked: torch.Tensor, unsteered: torch.Tensor, steered: torch.Tensor) -> torch.Tensor:
    """Invented = any j with S ∧ ¬A ∧ ¬U: steering put something into the picture that nobody asked for.

    Args:
        asked: (n, k) bool A, whether prompt i names object j.
        unsteered: (n, k) bool U, whether its unsteered picture shows the object.
        steered: (n, k) bool S, the same for the steered twin.

    Returns:
        (n,) bool.
    """
    return (steered & ~asked & ~unsteered).any(dim=1)


def count_without_invention(asked: torch.Tensor, unsteered: torch.Tensor, steered: torch.Tensor) -> tuple[int, int]:
    """Clean = |{i : nothing invented}| / n: pictures in which steering put nothing that nobody asked for.

    Args:
        asked: As for `invented`.
        unsteered: As for `invented`.
        steered: As for `invented`.

    Returns:
        The number of such pictures, and n.
    """
    found = invented(asked, unsteered, steered)
    return int((~found).sum()), len(found)


@dataclass
class Removal(Measure):
    """Of the pictures that showed the concept unsteered, the share whose steered twin doesn't; see `count_removed`.

    Args:
        name: The concept; for `update` an object that the detector knows.
    """

    higher_is_better: ClassVar[bool | None] = True

    name: str
    removed: int = 0
    shown: int = 0

    def update(self, unsteered: Mapping[str, torch.Tensor], steered: Mapping[str, torch.Tensor]) -> None:
        """Take one batch of twins.

        Args:
            unsteered: Object name → (n,) probabilities for the unsteered pictures.
            steered: The same for their steered twins.

        Raises:
            InputError: If the detector doesn't know the concept.
        """
        self.count(present(unsteered, self.name), present(steered, self.name))

    def count(self, unsteered: torch.Tensor, steered: torch.Tensor) -> None:
        """Take one batch of twins that anyone judged; see `count_removed`."""
        removed, shown = count_removed(unsteered, steered)
        self.removed += removed
        self.shown += shown

    def compute(self) -> float:
        return share(self.removed, self.shown)


@dataclass
class ObjectsKept(Measure):
    """Of the named objects drawn unsteered, the share still there with steering; see `count_kept`.

    Args:
        ignored: Labels that don't count. In mixed prompts that is the concept: what is left is "the other object".
    """

    higher_is_better: ClassVar[bool | None] = True

    ignored: tuple[str, ...]
    kept: int = 0
    drawn: int = 0

    def update(
        self,
        labels: Sequence[Sequence[str]],
        unsteered: Mapping[str, torch.Tensor],
        steered: Mapping[str, torch.Tensor],
    ) -> None:
        """Take one batch of twins.

        Args:
            labels: For each of the n prompts the objects that its picture should show.
            unsteered: Object name → (n,) probabilities for the unsteered pictures.
            steered: The same for their steered twins.

        Raises:
            InputError: If a label that counts is unknown to the detector.
        """
        names = sorted({name for wanted in labels for name in wanted} - set(self.ignored))
        kept, drawn = count_kept(
            label_matrix(labels, names), presence_matrix(unsteered, names), presence_matrix(steered, names)
        )
        self.kept += kept
        self.drawn += drawn

    def compute(self) -> float:
        return share(self.kept, self.drawn)


@dataclass
class NoInventedObject(Measure):
    """Share of steered pictures that show nothing beyond the prompt's labels and the unsteered twin's objects.

    See `count_without_invention`.
    """

    higher_is_better: ClassVar[bool | None] = True

    clean: int = 0
    pictures: int = 0

    def update(
        self,
        labels: Sequence[Sequence[str]],
        unsteered: Mapping[str, torch.Tensor],
        steered: Mapping[str, torch.Tensor],
    ) -> None:
        """Take one batch of twins, judged over every object that the detector knows.

        Args:
            labels: For each of the n prompts the objects that its picture should show.
            unsteered: Object name → (n,) probabilities for the unsteered pictures.
            steered: The same for their steered twins.
        """
        names = sorted(steered)
        clean, pictures = count_without_invention(
            label_matrix(labels, names), presence_matrix(unsteered, names), presence_matrix(steered, names)
        )
        self.clean += clean
        self.pictures += pictures

    def compute(self) -> float:
        return share(self.clean, self.pictures)
