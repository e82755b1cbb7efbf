"""Hard cases: what is left of the concept, and what becomes of pictures that only look like it."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ..evaluation.bootstrap import Interval
from .folder import Columns, Sweep
from .operating import RULES, choose, intervals
from .reached import mean_over_prompts, mean_over_seeds, reached
from .rows import Cell

#: The rule that strengths are chosen by.
RULE: Final = "B"
#: Figure of a case → columns to (n,) values, NaN where it doesn't apply.
FIGURES: Final[dict[str, Callable[[Columns], np.ndarray]]] = {
    "left": lambda columns: columns["concept_left"],
    "kept": lambda columns: columns["objects_kept"],
    "ssim": lambda columns: columns["ssim"],
    "no_invented": lambda columns: 1 - columns["invented"],
}


def limits(sweep: Sweep, resamples: int = 10_000, seed: int = 0) -> list[dict[str, Any]]:
    """Tell of every case of every task that has some, technique by technique.

    Args:
        sweep: What was drawn.
        resamples: How many resamples; a case's prompts are drawn among their own.
        seed: Of the generator.

    Returns:
        Rows of `"task"`, `"case"`, `"technique"`, `"strength"` (λ by rule B on the task's tuning prompts), `"met"`,
        `"prompts"`, `"shown"` (share of unsteered pictures that show the concept) and `"figures"`: `"left"` (the share
        of those that still do), `"kept"` (the share of other objects still there), `"ssim"`, `"no_invented"`, each a
        mean with its interval or `None`. Techniques without a strength, or unfinished ones, have no row.
    """
    found = []
    for task, about in sweep.plan.tasks.items():
        if about.cases is None or not sweep.prompts[task]["tuning"]:
            continue
        for technique in (technique for of, technique in sweep.plan.units() if of == task):
            if not sweep.finished(task, technique):
                continue
            choice = choose(RULES[RULE], reached(sweep, [task], technique, "tuning"))
            if choice is None:
                continue
            strength = sweep.strengths(task, technique)[choice.place]
            for case, prompts in sweep.prompts[task]["heldout"].items():
                told = {
                    "task": task,
                    "case": case,
                    "technique": technique,
                    "strength": strength,
                    "met": choice.met,
                    "prompts": len(prompts),
                }
                found.append(told | _case(sweep, Cell(task, technique, "heldout", case, 0, strength), resamples, seed))
    return found


def _case(sweep: Sweep, cell: Cell, resamples: int, seed: int) -> dict[str, Any]:
    cells = [
        sweep.cells[Cell(cell.task, cell.technique, cell.split, cell.kind, number, cell.strength)]
        for number in range(sweep.plan.seeds)
    ]
    rows = np.stack([mean_over_seeds(np.stack([value(columns) for columns in cells])) for value in FIGURES.values()])
    shown = mean_over_seeds(np.stack([columns["concept_unsteered"] for columns in cells]))
    told: list[Interval | None] = intervals(rows, np.repeat(cell.kind, rows.shape[1]), resamples, seed)
    return {"shown": float(mean_over_prompts(shown)), "figures": dict(zip(FIGURES, told, strict=True))}
