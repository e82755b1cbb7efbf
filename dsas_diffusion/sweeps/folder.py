"""A sweep's folder, read for its report: the plan, how it was made, and every cell that is whole."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from ..errors import InputError
from ..files import read_json
from ..prompt_set import Prompt, did_you_mean
from .plan import Plan, load_plan
from .rows import FOLDER, Cell, Row, Split, each_cell
from .steering import Steering
from .technique import Technique

PLAN: Final = "plan.yaml"
MANIFEST: Final = "sweep.json"
#: Where a run says its command, day and machine, which may differ from run to run.
RUN: Final = "run.json"
#: The form of a folder that is read here; a manifest that names none has it.
FORMAT: Final = 1
SPLITS: Final[tuple[Split, ...]] = ("tuning", "heldout")
#: Figure of a picture → (n,) one value a prompt of a cell, in the order of the prompts.
Columns: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Sweep:
    """What a folder holds.

    Args:
        folder: The folder.
        plan: Its plan.
        made: How it was made: everything of the manifest, and of the last run.
        techniques: Name → the technique, unprepared.
        prompts: Task → split → kind → prompts; no kind is empty.
        cells: Every whole cell → its figures.
        begun: Cells that are not whole yet.
        units: (task, technique) → what its `unit.json` tells, where it is there.
    """

    folder: Path
    plan: Plan
    made: Mapping[str, Any]
    techniques: Mapping[str, Technique]
    prompts: Mapping[str, Mapping[Split, Mapping[str, tuple[Prompt, ...]]]]
    cells: Mapping[Cell, Columns]
    begun: frozenset[Cell]
    units: Mapping[tuple[str, str], Mapping[str, Any]]

    def of(self, tasks: Sequence[str]) -> "Sweep":
        """Give what it holds of some of its tasks.

        Args:
            tasks: Their names.

        Raises:
            InputError: If there is none of a name.
        """
        for name in tasks:
            if name not in self.plan.tasks:
                raise InputError(
                    f"The sweep in {self.folder} has no task {name!r}.{did_you_mean(name, self.plan.tasks)} There are "
                    f"{', '.join(self.plan.tasks)}."
                )
        return replace(
            self,
            made={**self.made, "left_out": [name for name in self.plan.tasks if name not in tasks]},
            plan=replace(self.plan, tasks={name: task for name, task in self.plan.tasks.items() if name in tasks}),
            prompts={name: kinds for name, kinds in self.prompts.items() if name in tasks},
            cells={cell: columns for cell, columns in self.cells.items() if cell.task in tasks},
            begun=frozenset(cell for cell in self.begun if cell.task in tasks),
            units={unit: about for unit, about in self.units.items() if unit[0] in tasks},
        )

    def whole(self, task: str, technique: str, split: Split, strength: float) -> bool:
        """Whether every kind is there from every seed."""
        return all(
            Cell(task, technique, split, kind, seed, strength) in self.cells
            for kind in self.prompts[task][split]
            for seed in range(self.plan.seeds)
        )

    def strengths(self, task: str, technique: str) -> tuple[float, ...]:
        """Give the strengths that are judged, rising; none where they are not chosen yet."""
        return tuple(self.units.get((task, technique), {}).get("strengths", ()))

    def finished(self, task: str, technique: str) -> bool:
        """Whether all that is judged is there, tuning prompts too."""
        strengths = self.strengths(task, technique)
        return bool(strengths) and all(
            self.whole(task, technique, split, strength) for split in SPLITS for strength in strengths
        )

    def missing(self) -> list[str]:
        """Say of each technique on each task what is not there yet."""
        found = []
        for task, technique in self.plan.units():
            if self.finished(task, technique):
                continue
            own = [(task, technique) == (cell.task, cell.technique) for cell in self.cells]
            strengths = self.strengths(task, technique)
            if strengths:
                wanted = [
                    Cell(task, technique, split, kind, seed, strength)
                    for split in SPLITS
                    for kind in self.prompts[task][split]
                    for seed in range(self.plan.seeds)
                    for strength in strengths
                ]
                lacking = sum(cell not in self.cells for cell in wanted)
                found.append(f"{technique} on {task}: {lacking} of {len(wanted)} cells are not whole.")
            elif any(own) or any((task, technique) == (cell.task, cell.technique) for cell in self.begun):
                found.append(f"{technique} on {task}: {sum(own)} cells are whole; the others are still to be drawn.")
            else:
                found.append(f"{technique} on {task}: not begun.")
        return found

    def title(self, technique: str) -> str:
        """What reports call a technique."""
        return self.plan.techniques[technique].title or technique

    def gated(self, technique: str) -> bool:
        """Whether a technique is steering with a gate."""
        made = self.techniques[technique]
        return isinstance(made, Steering) and made.gate != "always"


def read_sweep(folder: str | Path) -> Sweep:
    """Read a folder, while its sweep may be running.

    Args:
        folder: The sweep's.

    Raises:
        InputError: If it holds no sweep, one of another form, or something damaged.
    """
    folder = Path(folder)
    for name in (MANIFEST, PLAN):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder} holds no {name}, so it is no folder of a sweep that this version can read. Name the folder "
                "that `dsas sweep --plan` was given as --out."
            )
    made = _mapping(folder / MANIFEST)
    if made.get("format", FORMAT) != FORMAT:
        raise InputError(
            f"{folder / MANIFEST} has the format {made['format']!r}; this version reads {FORMAT}. Use the version of "
            f"dsas-diffusion that wrote it ({made.get('library_version', 'unknown')}), or a newer one."
        )
    made = {**made, **(_mapping(folder / RUN) if (folder / RUN).is_file() else {})}
    plan = load_plan(folder / PLAN)
    prompts: dict[str, dict[Split, dict[str, tuple[Prompt, ...]]]] = {
        name: {
            "tuning": _filled(task.tuning(plan.pictures.tuning)),
            "heldout": _filled(task.heldout(plan.pictures.heldout)),
        }
        for name, task in plan.tasks.items()
    }
    cells, begun = {}, set()
    for cell, rows in each_cell(folder):
        count = _expected(cell, plan, prompts, folder)
        if columns := _columns(cell, rows, count, folder):
            cells[cell] = columns
        else:
            begun.add(cell)
    units = {
        unit: _unit(path)
        for unit in plan.units()
        if (path := folder / "units" / unit[0] / unit[1] / "unit.json").is_file()
    }
    techniques = {name: entry.make() for name, entry in plan.techniques.items()}
    return Sweep(folder, plan, made, techniques, prompts, cells, frozenset(begun), units)


def _filled(groups: Mapping[str, tuple[Prompt, ...]]) -> dict[str, tuple[Prompt, ...]]:
    return {kind: prompts for kind, prompts in groups.items() if prompts}


def _mapping(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a JSON object, but holds {type(found).__name__}. Draw the sweep again.")
    return found


def _unit(path: Path) -> dict[str, Any]:
    found = _mapping(path)
    if "strengths" not in found:  # they are still being searched
        return found
    strengths = found["strengths"]
    if not isinstance(strengths, list) or not strengths or not all(isinstance(s, int | float) for s in strengths):
        raise InputError(
            f"{path} names no strengths, but {json.dumps(strengths)}. Remove it; `dsas sweep` finds them again."
        )
    return {**found, "strengths": [float(strength) for strength in strengths]}


def _expected(cell: Cell, plan: Plan, prompts: Mapping[str, Any], folder: Path) -> int:
    """Give how many pictures a cell is to have."""
    known = cell.task in plan.tasks and cell.technique in plan.techniques and cell.split in SPLITS
    kinds = prompts[cell.task][cell.split] if known else {}
    if cell.kind not in kinds or not 0 <= cell.seed < plan.seeds:
        raise InputError(
            f"{_place(cell, folder)} holds a cell that {PLAN} has no place for: {cell.split}, {cell.kind}, seed "
            f"{cell.seed}. The folder holds parts of two sweeps; draw it again into a new folder."
        )
    return len(kinds[cell.kind])


def _columns(cell: Cell, rows: list[Row], count: int, folder: Path) -> Columns | None:
    """Put a cell's rows side by side; `None` where pictures are missing."""
    ordered = sorted(rows, key=lambda row: row["index"])
    places = Counter(int(row["index"]) for row in ordered)
    strange = [place for place, times in places.items() if times > 1 or not 0 <= place < count]
    if strange or len({frozenset(row) for row in ordered}) > 1:
        what = f"picture {strange[0]} twice or without a prompt" if strange else "rows with different figures"
        raise InputError(
            f"{_place(cell, folder)} holds {what}, at {cell.split}, {cell.kind}, seed {cell.seed}, λ = "
            f"{cell.strength:g}. Remove the file; `dsas sweep` draws what it held again."
        )
    if len(ordered) < count:
        return None
    return {name: np.array([row[name] for row in ordered], dtype=np.float64) for name in ordered[0]}


def _place(cell: Cell, folder: Path) -> Path:
    return folder / FOLDER / cell.task / f"{cell.technique}.jsonl"
