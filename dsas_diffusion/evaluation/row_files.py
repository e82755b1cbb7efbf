"""Rows of figures as a .csv or .jsonl file, a line a picture."""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..files import atomic_write
from .report import PSNR_CEILING


def check_row_file(path: str | os.PathLike[str], asked: str = "rows") -> None:
    """Refuse a name that doesn't tell the format, before anything is measured.

    Args:
        path: The file.
        asked: What the user names it by.

    Raises:
        InputError: If it ends in neither `.csv` nor `.jsonl`.
    """
    if Path(path).suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(
            f"{asked} is {os.fspath(path)!r}; name a file that ends in .csv or .jsonl, which is its format."
        )


def write_rows(path: str | os.PathLike[str], rows: Sequence[Mapping[str, str | float]]) -> Path:
    """Write rows whole or not at all.

    NaN, a figure that doesn't apply, becomes an empty cell or null; infinity, the PSNR of identical pictures, 100.0.

    Args:
        path: A file that ends in `.csv` or `.jsonl`.
        rows: At least one; all with the same names.

    Returns:
        The path.

    Raises:
        InputError: If the ending is another, or the place can't be written.
    """
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return write_table(path, list(plain[0]), plain)


def write_table(
    path: str | os.PathLike[str], columns: Sequence[str], records: Iterable[Mapping[str, str | float | None]]
) -> Path:
    """Write records whole or not at all; `None` becomes an empty cell or null.

    Args:
        path: A file that ends in `.csv` or `.jsonl`.
        columns: The names, in their order.
        records: A value for each name; finite.

    Returns:
        The path.

    Raises:
        InputError: If the ending is another, or the place can't be written.
    """
    check_row_file(path)
    if Path(path).suffix.lower() == ".jsonl":
        lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
        return atomic_write(path, "".join(lines))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return atomic_write(path, text.getvalue())


def _plain(value: str | float) -> str | float | None:
    if isinstance(value, str):
        return value
    return None if math.isnan(value) else min(value, PSNR_CEILING) if math.isinf(value) else value
