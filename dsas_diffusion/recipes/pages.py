"""What the pages of recipes and of studies share: the command, the machine, and the files that they are written to."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import torch

from ..evaluation.report import to_json
from ..files import atomic_write

#: In a model's folder, on what it was measured.
MACHINE: Final = "machine.json"


def command_line(script: str, words: Sequence[str], models: Sequence[str], page: str | Path | None) -> str:
    """Write down the command that makes a page, so that it can be typed again.

    Args:
        script: The script's name in `examples/paper`.
        words: What it is to run, if not everything.
        models: Names of the protocol's models.
        page: Another file for the page; `None` for none.
    """
    threads = os.environ.get("OMP_NUM_THREADS")
    return " ".join(
        [
            *([f"OMP_NUM_THREADS={threads}"] if threads else []),
            f"python examples/paper/{script}",
            *words,
            "--model",
            *models,
            *([] if page is None else ["--page", str(page)]),
        ]
    )


def machine(device: str) -> str:
    """Say when and on what something was measured.

    Args:
        device: `"cpu"` or `"cuda"`.
    """
    what = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores, {what}, torch {torch.__version__} ({platform.machine()})"


def write_report(out: str | Path, page: str | Path | None, told: str, kept: Mapping[str, Any]) -> str:
    """Write a page and its figures, as `report.md` and `report.json`, and to another place if there is one.

    Args:
        out: The folder.
        page: Another file for the page; its figures then stand beside it, under its name.
        told: The page.
        kept: Its figures.

    Returns:
        The page.
    """
    for path in [Path(out) / "report.md", *([] if page is None else [Path(page)])]:
        atomic_write(path, told)
        atomic_write(path.with_suffix(".json"), to_json(kept))
    return told
