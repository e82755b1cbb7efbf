"""Presence by a detector: which objects pictures show, and how many of those that were asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from PIL import Image

from ..errors import InputError
from .base import Measure, share

THRESHOLD = 0.5


class Detection(Protocol):
    """What a detector found in n images."""

    @property
    def probabilities(self) -> Mapping[str, torch.Tensor]:
        """Object name → (n,) probabilities in [0, 1] that the picture shows it."""

    @property
    def heat_maps(self) -> Mapping[str, torch.Tensor]:
        """Object name → (n, height, width) maps in [0, 1]: how surely each pixel belongs to it."""


class Detector(Protocol):
    """Anything that says which objects pictures show, given PIL images or (n, 3, height, width) floats in [0, 1]."""

    def __call__(self, images: Sequence[Image.Image] | torch.Tensor, /) -> Detection: ...


def known_objects(detector: Detector) -> frozenset[str]:
    """Tell which objects a detector knows, by showing it a blank picture.

    Args:
        detector: The detector.

    Returns:
        The names.
    """
    return frozenset(detector([Image.new("RGB", (64, 64))]).probabilities)


def present(probabilities: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Present = probability > 0.5.

    Args:
        probabilities: Object name → (n,) probabilities in [0, 1], as a detector gives them.
        name: One of the objects.

    Returns:
        (n,) bool, on the CPU.

    Raises:
        InputError: If the detector doesn't know the object, or its probabilities are not finite.
    """
    if name not in probabilities:
        raise InputError(
            f"The detector knows no {name!r}; it knows {', '.join(sorted(probabilities))}. Ask for one of these."
        )
    found = probabilities[name].detach().cpu()
    if not bool(torch.isfinite(found).all()):
        raise InputError(
            f"The detector's probability of {name!r} is not finite for picture "
            f"{int((~torch.isfinite(found)).nonzero()[0])} of the batch. Check that the pictures hold no NaN."
        )
    return found > THRESHOLD


def presence_matrix(probabilities: Mapping[str, torch.Tensor], names: Sequence[str]) -> torch.Tensor:
    """Put `present` side by side for several objects.

    Args:
        probabilities: Object name → (n,) probabilities in [0, 1].
        names: k objects.

    Returns:
        (n, k) bool.

    Raises:
        InputError: If the detector doesn't know an object.
    """
    columns = [present(probabilities, name) for name in names]
    count = len(next(iter(probabilities.values()))) if probabilities else 0
    return torch.stack(columns, dim=1) if columns else torch.zeros(count, 0, dtype=torch.bool)


def label_matrix(labels: Sequence[Sequence[str]], names: Sequence[str]) -> torch.Tensor:
    """Turn prompts' labels into a matrix beside `presence_matrix`.

    Args:
        labels: For each of n prompts the objects that its picture should show.
        names: k objects; labels that are none of them are left out.

    Returns:
        (n, k) bool.
    """
    asked = [[name in wanted for name in names] for wanted in labels]
    return torch.tensor(asked, dtype=torch.bool).reshape(len(labels), len(names))


def count_shown(asked: torch.Tensor, shown: torch.Tensor) -> tuple[int, int]:
    """Shown = |A ∧ P| / |A|: of all named objects, those that their pictures show.

    Args:
        asked: (n, k) bool A, whether prompt i names object j.
        shown: (n, k) bool P, whether its picture shows the object.

    Returns:
        |A ∧ P| and |A|: sums over pictures, to be divided at the end.
    """
    return int((asked & shown).sum()), int(asked.sum())


@dataclass
class PresenceRate(Measure):
    """Share of pictures that show one object, of those that were asked about.

    Args:
        name: The object.
    """

    higher_is_better: ClassVar[bool | None] = None

    name: str
    shown: int = 0
    pictures: int = 0

    def update(self, probabilities: Mapping[str, torch.Tensor], among: torch.Tensor | None = None) -> None:
        """Take one batch.

        Args:
            probabilities: Object name → (n,) probabilities in [0, 1].
            among: (n,) bool, the pictures that count; all by default.

        Raises:
            InputError: If the detector doesn't know the object.
        """
        found = present(probabilities, self.name)
        counted = torch.ones_like(found) if among is None else among
        self.shown += int((found & counted).sum())
        self.pictures += int(counted.sum())

    def compute(self) -> float:
        return share(self.shown, self.pictures)


@dataclass
class ObjectsShown(Measure):
    """Share of the named objects that their pictures show; see `count_shown`."""

    higher_is_better: ClassVar[bool | None] = True

    shown: int = 0
    asked: int = 0

    def update(self, labels: Sequence[Sequence[str]], probabilities: Mapping[str, torch.Tensor]) -> None:
        """Take one batch.

        Args:
            labels: For each of the n prompts the objects that its picture should show.
            probabilities: Object name → (n,) probabilities in [0, 1].

        Raises:
            InputError: If a label is unknown to the detector.
        """
        names = sorted({name for wanted in labels for name in wanted})
        shown, asked = count_shown(label_matrix(labels, names), presence_matrix(probabilities, names))
        self.shown += shown
        self.asked += asked

    def compute(self) -> float:
        return share(self.shown, self.asked)
