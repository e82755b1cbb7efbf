"""Every row of a sweep in one table, as CSV or JSONL, for whoever wants to compute something else."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import InputError
from ..files import atomic_write
from .rows import Cell, Row

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


def export_rows(cells: Mapping[Cell, list[Row]], path: str | Path) -> int:
    """Write every row, those of unfinished cells too.

    Args:
        cells: As `read_rows` gives them.
        path: A .csv or .jsonl file. NaN, where a figure doesn't apply, is an empty field or null.

    Returns:
        How many rows.

    Raises:
        InputError: If the ending is another one, or the file can't be written.
    """
    path = check_export(path)
    figures = list(dict.fromkeys(name for rows in cells.values() for name in (rows[0] if rows else ())))
    columns = [*PLACE, *(name for name in figures if name not in ("index", "seed"))]
    records = list(_records(cells, columns))
    if path.suffix.lower() == ".jsonl":
        text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    else:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        text = buffer.getvalue()
    atomic_write(path, text)
    return len(records)


def _records(cells: Mapping[Cell, list[Row]], columns: list[str]) -> Iterable[dict[str, Any]]:
    for cell in sorted(cells):
        place = {
            "task": cell.task,
            "technique": cell.technique,
            "split": cell.split,
            "kind": cell.kind,
            "seed": cell.seed,
            "strength": cell.strength,
        }
        for row in cells[cell]:
            own = {"index": int(row["index"]), "picture_seed": int(row["seed"])}
            figures = {name: _given(row.get(name, math.nan)) for name in columns if name not in PLACE}
            yield place | own | figures


def _given(value: float) -> float | None:
    return value if math.isfinite(value) else None
