"""Rows of figures as a .csv or .jsonl file, a line a picture."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..files import atomic_write
from .report import PSNR_CEILING


def check_row_file(path: str | os.PathLike[str]) -> None:
    """Refuse a name that doesn't tell the format, before anything is measured.

    Raises:
        InputError: If it ends in neither `.csv` nor `.jsonl`.
    """
    if Path(path).suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"rows is {os.fspath(path)!r}; name a file that ends in .csv or .jsonl, which is its format.")


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
    check_row_file(path)
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    if Path(path).suffix.lower() == ".jsonl":
        lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in plain)
        return atomic_write(path, lines)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(plain[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain)
    return atomic_write(path, text.getvalue())


def _plain(value: str | float) -> str | float | None:
    if isinstance(value, str):
        return value
    return None if math.isnan(value) else min(value, PSNR_CEILING) if math.isinf(value) else value
