"""What a sweep keeps of every picture: lines that are appended whole, a batch at a time, and read back by cell."""

import json
import math
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from filelock import FileLock, Timeout

from ..errors import InputError
from ..evaluation.report import PSNR_CEILING
from ..files import writing

Split = Literal["tuning", "heldout"]
#: One picture's figures by name, floats; NaN where one doesn't apply. `index` is the prompt's place in its group.
Row: TypeAlias = dict[str, float]
FOLDER: Final = "rows"


@dataclass(frozen=True, order=True)
class Cell:
    """The same prompts drawn once: one technique at one strength, from one seed.

    Args:
        task: Name in the plan.
        technique: Name in the plan.
        split: Whether settings may be chosen on it, or figures reported.
        kind: Group of prompts: `"source"`, `"control"`, `"mixed"`, or a hard case.
        seed: Which fit and which pictures, from 0.
        strength: How strongly.
    """

    task: str
    technique: str
    split: Split
    kind: str
    seed: int
    strength: float


class Journal:
    """The rows of one technique on one task, in a file that one process writes at a time.

    A line is a batch: it is there whole or not at all, since what a writer left unfinished is cut off by the next one.

    Args:
        folder: The sweep's folder.
        task: Name in the plan.
        technique: Name in the plan.
    """

    def __init__(self, folder: Path, task: str, technique: str) -> None:
        self.task, self.technique = task, technique
        self.path = folder / FOLDER / task / f"{technique}.jsonl"
        self.rows: dict[Cell, dict[int, list[Row]]] = {}
        self._file: Any = None

    @contextmanager
    def opened(self) -> Generator["Journal | None"]:
        """Hold the file for writing, with what it holds read.

        Yields:
            The journal; `None` where another process holds it.

        Raises:
            InputError: If it is damaged or can't be written.
        """
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield None
            return
        try:
            with writing(self.path):
                file = self.path.open("a+b", buffering=0)
            with file:
                file.seek(0)
                content = file.read()
                whole = content.rfind(b"\n") + 1
                if whole < len(content):
                    file.truncate(whole)
                self._file, self.rows = file, _parsed(content[:whole], self)
                yield self
        finally:
            self._file = None
            lock.release()

    def append(self, cell: Cell, start: int, rows: Sequence[Row]) -> None:
        """Add a batch.

        Args:
            cell: Its cell, of this task and technique.
            start: The first picture's place in its group.
            rows: A row a picture, in their order.

        Raises:
            InputError: If the disk is full; the file is then as it was.
        """
        kept = {
            "split": cell.split,
            "kind": cell.kind,
            "seed": cell.seed,
            "strength": cell.strength,
            "start": start,
            "rows": {name: [_short(row[name]) for row in rows] for name in rows[0]},
        }
        line = json.dumps(kept, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        with writing(self.path):
            try:
                written = 0
                while written < len(line):
                    written += self._file.write(line[written:])
                os.fsync(self._file.fileno())
            except BaseException:
                self._file.truncate(end)
                raise
        self.rows.setdefault(cell, {})[start] = _numbers(json.loads(line)["rows"])

    def cell(self, cell: Cell) -> list[Row]:
        """Give a cell's rows, batch after batch."""
        return _joined(self.rows.get(cell, {}))


def read_rows(folder: Path) -> dict[Cell, list[Row]]:
    """Read what a sweep holds, while it may be running.

    Args:
        folder: The sweep's folder.

    Returns:
        Cell → a row a picture, in the order of their prompts; unfinished cells have fewer.

    Raises:
        InputError: If a file is damaged.
    """
    return dict(each_cell(folder))


def each_cell(folder: Path) -> Iterator[tuple[Cell, list[Row]]]:
    """Read the same cell by cell, with no more in memory than one technique's rows on one task.

    Args:
        folder: The sweep's folder.

    Raises:
        InputError: If a file is damaged.
    """
    for path in sorted((folder / FOLDER).glob("*/*.jsonl")):
        journal = Journal(folder, path.parent.name, path.stem)
        content = path.read_bytes()
        for cell, batches in _parsed(content[: content.rfind(b"\n") + 1], journal).items():
            yield cell, _joined(batches)


def _parsed(content: bytes, journal: Journal) -> dict[Cell, dict[int, list[Row]]]:
    found: dict[Cell, dict[int, list[Row]]] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            kept = json.loads(line)
            place = {name: kept[name] for name in ("split", "kind", "seed", "strength")}
            cell = Cell(journal.task, journal.technique, **place)
            found.setdefault(cell, {})[int(kept["start"])] = _numbers(kept["rows"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{journal.path}, line {number}, is no batch of a sweep: {error}. Remove that line; `dsas sweep` "
                "draws a missing batch again."
            ) from error
    return found


def _short(value: float) -> float | None:
    # JSON has neither NaN nor infinity, the PSNR of identical pictures; six digits are more than a picture tells.
    if math.isnan(value):
        return None
    if math.isinf(value):
        return PSNR_CEILING
    return int(value) if float(value).is_integer() else float(f"{value:.6g}")


def _numbers(columns: Mapping[str, Sequence[float | None]]) -> list[Row]:
    filled = {
        name: [math.nan if value is None else float(value) for value in column] for name, column in columns.items()
    }
    return [dict(zip(filled, values, strict=True)) for values in zip(*filled.values(), strict=True)]


def _joined(batches: Mapping[int, list[Row]]) -> list[Row]:
    return [row for start in sorted(batches) for row in batches[start]]
