"""Every row of a sweep in one table, as CSV or JSONL, for whoever wants to compute something else."""

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..files import atomic_write
from .rows import Cell, Row, each_cell

#: What each row says of its place; `seed` is the sweep's, `picture_seed` the picture's own.
PLACE: Final = ("task", "technique", "split", "kind", "seed", "strength", "index", "picture_seed")
SUFFIXES: Final = (".csv", ".jsonl")


def check_export(path: str | Path) -> Path:
    """See that a file's ending says how rows are to be written.

    Args:
        path: The file.

    Raises:
        InputError: If it is neither .csv nor .jsonl.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"export is {str(path)!r}, whose ending tells no form. Accepted are names that end in "
            f"{' or '.join(SUFFIXES)}."
        )
    return path


def export_rows(folder: Path, path: str | Path) -> int:
    """Write every row of a sweep, those of unfinished cells too.

    Args:
        folder: The sweep's.
        path: A .csv or .jsonl file. NaN, where a figure doesn't apply, is an empty field or null.

    Returns:
        How many rows.

    Raises:
        InputError: If there are no rows, the ending is another one, a row is damaged, or the file can't be written.
    """
    path = check_export(path)
    if not any(rows for _, rows in each_cell(folder)):
        raise InputError(f"{folder} holds no rows of a sweep. Name the folder that `dsas sweep` was given as --out.")
    figures = dict.fromkeys(name for _, rows in each_cell(folder) for name in (rows[0] if rows else ()))
    columns = [*PLACE, *(name for name in figures if name not in ("index", "seed"))]
    buffer, count = io.StringIO(newline=""), 0
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    as_lines = path.suffix.lower() == ".jsonl"
    if not as_lines:
        writer.writeheader()
    for cell, rows in each_cell(folder):
        for record in _records(cell, rows, columns):
            if as_lines:
                buffer.write(json.dumps(record, allow_nan=False) + "\n")
            else:
                writer.writerow(record)
        count += len(rows)
    atomic_write(path, buffer.getvalue())
    return count


def _records(cell: Cell, rows: list[Row], columns: list[str]) -> Iterable[dict[str, Any]]:
    place = {
        "task": cell.task,
        "technique": cell.technique,
        "split": cell.split,
        "kind": cell.kind,
        "seed": cell.seed,
        "strength": cell.strength,
    }
    for row in rows:
        own = {"index": int(row["index"]), "picture_seed": int(row["seed"])}
        figures = {name: _given(row.get(name, math.nan)) for name in columns if name not in PLACE}
        yield place | own | figures


def _given(value: float) -> float | None:
    return value if math.isfinite(value) else None
