"""How often steering touches prompts that it should leave alone, and how far it moves them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from .base import Measure, share
from .steered_twins import Twins, changes


def touched(moved: Float[Tensor, "positions"]) -> bool:
    """Touched = any |t' − t| / |t| > 0: steering moved at least one position of the prompt.

    Args:
        moved: Of one prompt at one site, as `changes` gives them.
    """
    return bool((moved > 0).any())


@dataclass
class TouchedPrompts(Measure):
    """Share of prompts that are `touched`."""

    higher_is_better: ClassVar[bool | None] = False

    hit: int = 0
    prompts: int = 0

    def update(self, moved: Float[Tensor, "positions"]) -> None:
        """Take one prompt; see `touched`."""
        self.hit += touched(moved)
        self.prompts += 1

    def compute(self) -> float:
        return share(self.hit, self.prompts)


@dataclass
class TouchedPositions(Measure):
    """Share of positions with |t' − t| / |t| > 0."""

    higher_is_better: ClassVar[bool | None] = False

    hit: int = 0
    positions: int = 0

    def update(self, moved: Float[Tensor, "positions"]) -> None:
        """Take one prompt; see `touched`."""
        self.hit += int((moved > 0).sum())
        self.positions += len(moved)

    def compute(self) -> float:
        return share(self.hit, self.positions)


@dataclass
class MeanMove(Measure):
    """Mean over positions of |t' − t| / |t|."""

    higher_is_better: ClassVar[bool | None] = False

    total: float = 0.0
    positions: int = 0

    def update(self, moved: Float[Tensor, "positions"]) -> None:
        """Take one prompt; see `touched`."""
        self.total += float(moved.double().sum())
        self.positions += len(moved)

    def compute(self) -> float:
        return share(self.total, self.positions)


def touch_figures(twins: Iterable[Mapping[str, Twins]]) -> dict[str, dict[str, float]]:
    """Measure what steering does to prompts at each site, all earlier sites being steered, too.

    Args:
        twins: As `steered_twins` gives them, for example of control prompts; one prompt is held at a time.

    Returns:
        Site → `touched_prompts` and `touched_positions` (shares), and `mean_move` (mean |t' − t| / |t|).
    """
    measures: dict[str, tuple[TouchedPrompts, TouchedPositions, MeanMove]] = {}
    for each in twins:
        for path, pair in each.items():
            moved = changes(pair)
            for measure in measures.setdefault(path, (TouchedPrompts(), TouchedPositions(), MeanMove())):
                measure.update(moved)
    names = ("touched_prompts", "touched_positions", "mean_move")
    return {
        path: {name: measure.compute() for name, measure in zip(names, found, strict=True)}
        for path, found in measures.items()
    }
