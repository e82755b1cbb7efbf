"""`dsas report`: a sweep's figures as a page, a text and a file of figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evaluation.report import format_table, to_json
from ..evaluation.row_files import check_row_file
from ..files import atomic_folder, atomic_write
from .export import export_rows
from .findings import findings
from .folder import read_sweep
from .report_page import page
from .report_parts import parts
from .report_tables import VERDICTS, title
from .report_text import files, markdown


def report(
    sweep: str,
    out: str = "outputs/report",
    name: str = "report",
    tasks: list[str] | str | None = None,
    export: str | None = None,
) -> None:
    """Tell what a sweep found: fronts, comparisons, operating points, pictures.

    Writes report.html, one file that needs nothing else; report.md with report_files beside it; and report.json with
    every figure. The sweep may still be running: what is not whole is named, and nothing is told from it.

    Args:
        sweep: The folder of `dsas sweep`.
        out: Folder for the report, which may be the sweep's own.
        name: What its files are called, without the ending.
        tasks: The tasks that are told of, one or several as a list; by default all.
        export: A .csv or .jsonl file for every row, one a picture.

    Raises:
        InputError: If the folder holds no sweep, none of its cells is whole, something is damaged, or a file can't be
            written.
    """
    if export is not None:
        check_row_file(export, "export")  # before anything is computed
        print(f"{export_rows(Path(sweep), export)} rows are in {export}.")
    tell(Path(sweep), Path(out), name, [tasks] if isinstance(tasks, str) else tasks)


def tell(folder: Path, out: Path, name: str = "report", tasks: Sequence[str] | None = None) -> None:
    """Write a report, and print what a reader is told of first.

    Args:
        folder: The sweep's.
        out: Where to.
        name: As for :func:`report`.
        tasks: As for :func:`report`.

    Raises:
        InputError: As for :func:`write_report`.
    """
    print(_told(write_report(folder, out, name, tasks)))
    print(f"\nLook at {out / name}.html; the same as text is in {name}.md, every figure in {name}.json.")


def write_report(
    folder: Path, out: Path, name: str = "report", tasks: Sequence[str] | None = None, resamples: int = 10_000
) -> dict[str, Any]:
    """Write a report's files.

    Args:
        folder: The sweep's.
        out: Where to, which may be the same.
        name: As for :func:`report`.
        tasks: As for :func:`report`.
        resamples: How many resamples intervals are made from.

    Returns:
        What the file of figures holds.

    Raises:
        InputError: If there is nothing to tell, something is damaged, or a file can't be written.
    """
    sweep = read_sweep(folder)
    if tasks is not None:
        sweep = sweep.of(tasks)
    if not sweep.cells:
        raise InputError(
            f"No cell of the sweep in {folder} is whole yet, so there is nothing to tell. Let `dsas sweep` go on; what "
            "is there is kept."
        )
    found = findings(sweep, resamples)
    blocks = parts(sweep, found)
    beside = f"{name}_files"
    with atomic_folder(out / beside, overwrite=("*.svg", "*.png")) as temporary:
        for file, content in files(blocks).items():
            (temporary / file).write_bytes(content)
    atomic_write(out / f"{name}.json", to_json(found))
    atomic_write(out / f"{name}.md", markdown(found["title"], blocks, beside))
    atomic_write(out / f"{name}.html", page(found["title"], blocks))
    return found


def _told(found: dict[str, Any]) -> str:
    """The comparisons that a reader is told of first, for the terminal."""
    rows = [
        [title(found, pair["first"]), title(found, pair["second"]), scope["name"], pair["plane"], pair["difference"][0],
         *pair["difference"][1:], VERDICTS[pair["verdict"]]]
        for scope in found["scopes"]
        if scope["headline"]
        for pair in scope["comparisons"]
    ]  # fmt: skip
    columns = {"this": "", "against": "", "on": "", "removal and": "", "difference": "+.4f", "95% from": "+.4f",
               "to": "+.4f", "is": ""}  # fmt: skip
    if rows:
        return format_table(rows, columns)
    return (
        "Nothing is compared yet; see what is missing in the report."
        if found["missing"]
        else "This sweep has no fronts to compare; the report has each technique's figures."
    )
