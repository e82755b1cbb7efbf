"""Every row of a sweep in one table, as CSV or JSONL, for whoever wants to compute something else."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..evaluation.row_files import check_row_file, write_table
from .rows import Cell, Row, each_cell

#: What each row says of its place; `seed` is the sweep's, `picture_seed` the picture's own.
PLACE: Final = ("task", "technique", "split", "kind", "seed", "strength", "index", "picture_seed")


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
    check_row_file(path, "export")
    figures, count = dict[str, None](), 0
    for _, rows in each_cell(folder):
        figures |= dict.fromkeys(rows[0] if rows else ())
        count += len(rows)
    if not count:
        raise InputError(f"{folder} holds no rows of a sweep. Name the folder that `dsas sweep` was given as --out.")
    columns = [*PLACE, *(name for name in figures if name not in ("index", "seed"))]
    write_table(path, columns, (one for cell, rows in each_cell(folder) for one in _records(cell, rows, columns)))
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
