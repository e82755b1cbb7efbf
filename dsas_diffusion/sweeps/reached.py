"""What a technique reached at its judged strengths, prompt by prompt: the figures of a sweep's rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .figures import FIGURES
from .folder import Sweep
from .rows import Cell, Split


@dataclass(frozen=True)
class Reached:
    """What a technique reached at its judged strengths, on the prompts of one task or of several together.

    Args:
        strengths: Task → its k strengths, rising. Several tasks are put together by the strength's place.
        groups: (n,) `"task/kind"` of each prompt.
        values: Figure → (k, n), a prompt's value being the mean over its seeds; NaN where it doesn't apply.
        untouched: Figure → (n,) the same at λ = 0.
    """

    strengths: dict[str, tuple[float, ...]]
    groups: np.ndarray
    values: dict[str, np.ndarray]
    untouched: dict[str, np.ndarray]

    def means(self, figure: str) -> np.ndarray:
        """(k,) a figure's mean over prompts; NaN where it was not measured."""
        return mean_over_prompts(self.values[figure])

    def at(self, places: Sequence[int] | int) -> dict[str, np.ndarray]:
        """Figure → (n,), each task at a strength of its own.

        Args:
            places: The strength's place, one for each task or one for all.
        """
        chosen = [places] * len(self.strengths) if isinstance(places, int) else places
        place_of = dict(zip(self.strengths, chosen, strict=True))
        rows = np.array([place_of[group.partition("/")[0]] for group in self.groups.tolist()], dtype=np.int64)
        return {name: found[rows, np.arange(len(rows))] for name, found in self.values.items()}


def reached(sweep: Sweep, tasks: Sequence[str], technique: str, split: Split) -> Reached:
    """Put a technique's figures at its judged strengths together.

    Args:
        sweep: What was drawn.
        tasks: One task, or several that are told together; the technique is finished on each.
        technique: Its name.
        split: Whose prompts.
    """
    return together([_one(sweep, task, technique, split, sweep.strengths(task, technique)) for task in tasks])


def together(parts: Sequence[Reached]) -> Reached:
    """Put one technique's figures on several tasks together, by the place of their strengths.

    Args:
        parts: One a task, 1 or more, with the same number of strengths.
    """
    return Reached(
        {task: strengths for part in parts for task, strengths in part.strengths.items()},
        np.concatenate([part.groups for part in parts]),
        {name: np.concatenate([part.values[name] for part in parts], axis=1) for name in FIGURES},
        {name: np.concatenate([part.untouched[name] for part in parts]) for name in FIGURES},
    )


def at_strengths(sweep: Sweep, task: str, technique: str, strengths: Sequence[float]) -> Reached:
    """Give a technique's held-out figures at any strengths that are whole.

    Args:
        sweep: What was drawn.
        task: The task.
        technique: The technique.
        strengths: Which; at each, every kind is there from every seed.
    """
    return _one(sweep, task, technique, "heldout", tuple(strengths))


def mean_over_prompts(values: np.ndarray) -> np.ndarray:
    """Mean over the prompts that have a value.

    Args:
        values: (..., n), NaN where a prompt has none.

    Returns:
        (...); NaN where no prompt has one.
    """
    return _mean(values, axis=-1)


def mean_over_seeds(values: np.ndarray) -> np.ndarray:
    """Mean of each prompt over the seeds in which a figure applies.

    Args:
        values: (seeds, ..., n), NaN where it doesn't.

    Returns:
        (..., n); NaN where it applies in none.
    """
    return _mean(values, axis=0)


def _one(sweep: Sweep, task: str, technique: str, split: Split, strengths: tuple[float, ...]) -> Reached:
    kinds = sweep.prompts[task][split]
    values: dict[str, list[np.ndarray]] = {name: [] for name in FIGURES}
    untouched: dict[str, list[np.ndarray]] = {name: [] for name in FIGURES}
    for kind in kinds:
        cells = [
            [sweep.cells[Cell(task, technique, split, kind, seed, strength)] for seed in range(sweep.plan.seeds)]
            for strength in strengths
        ]
        for name, figure in FIGURES.items():
            if kind not in figure.kinds or any(column not in cells[0][0] for column in figure.needs):
                values[name].append(np.full((len(strengths), len(kinds[kind])), np.nan))
                untouched[name].append(np.full(len(kinds[kind]), np.nan))
                continue
            found = np.array([[figure.value(columns) for columns in seeds] for seeds in cells])
            values[name].append(_mean(found, axis=1))
            untouched[name].append(_mean(np.array([figure.untouched(columns) for columns in cells[0]]), axis=0))
    return Reached(
        {task: strengths},
        np.repeat([f"{task}/{kind}" for kind in kinds], [len(prompts) for prompts in kinds.values()]),
        {name: np.concatenate(found, axis=1) for name, found in values.items()},
        {name: np.concatenate(found) for name, found in untouched.items()},
    )


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    counted = (~np.isnan(values)).sum(axis=axis)
    return np.divide(
        np.nansum(values, axis=axis), counted, out=np.full(np.shape(counted), np.nan), where=np.asarray(counted) > 0
    )
