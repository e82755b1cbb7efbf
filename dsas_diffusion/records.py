"""Rows of a JSONL or CSV file that a user handed in, each with the place it stands at."""

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import read_text

SUFFIXES = (".jsonl", ".csv")


@dataclass(frozen=True)
class Record:
    """One row of a file.

    Args:
        fields: Field or column name → value.
        place: Where the row stands, for messages: `"source.jsonl, line 3"`.
        textual: Whether all values are strings, whatever they mean, as in CSV.
    """

    fields: dict[str, Any]
    place: str
    textual: bool = False

    def refuse(self, problem: str, mend: str) -> InputError:
        """Make the error that says what is wrong with this row.

        Args:
            problem: What came instead of what is accepted.
            mend: The next step.

        Returns:
            The error, to be raised.
        """
        return InputError(f"{self.place}: {problem}. {mend}")


def read_records(path: str | os.PathLike[str]) -> list[Record]:
    """Read a JSONL file (one JSON object a line) or a CSV file (a header line, then one row a record).

    Args:
        path: The file, UTF-8, ending in `.jsonl` or `.csv`. Blank lines are skipped.

    Returns:
        The rows in the file's order; never empty.

    Raises:
        InputError: If the file can't be read, has another ending, holds a broken line, or holds no row.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path} ends in {suffix!r}; accepted are files that end in .jsonl or .csv.")
    records = _from_jsonl(path) if suffix == ".jsonl" else _from_csv(path)
    if not records:
        raise InputError(f"{path} holds no rows. Write at least one, or remove the file.")
    return records


def _from_jsonl(path: Path) -> list[Record]:
    records = []
    # Not `splitlines()`: JSON strings may hold U+2028 and its kin, which that takes for line ends.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        record = Record({}, f"{path}, line {number}")
        try:
            fields = json.loads(line)
        except json.JSONDecodeError as error:
            raise record.refuse(
                f"the line is not valid JSON ({error.msg} at column {error.colno})",
                'Each line is one JSON object, such as {"prompt": "a banana on a table"}.',
            ) from error
        if not isinstance(fields, dict):
            raise record.refuse(
                f"the line holds a JSON {type(fields).__name__}, not an object",
                'Each line is one JSON object, such as {"prompt": "a banana on a table"}.',
            )
        records.append(Record(fields, record.place))
    return records


def _from_csv(path: Path) -> list[Record]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    records: list[Record] = []
    header: list[str] | None = None
    start = 1
    try:
        for row in reader:
            place, start = f"{path}, line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = [cell.strip() for cell in row]
                if len(set(header)) < len(header):
                    raise InputError(f"{place}: a column stands twice in the header {header}. Name each column once.")
                continue
            record = Record(dict(zip(header, row, strict=False)), place, textual=True)
            if len(row) != len(header):
                raise record.refuse(
                    f"the row has {len(row)} cells, but the header has {len(header)}",
                    'Put cells that hold a comma in double quotes: "a banana, sliced".',
                )
            records.append(record)
    except csv.Error as error:
        raise InputError(f"{path}, line {start}: the row is not valid CSV ({error}). Check its quotes.") from error
    return records
