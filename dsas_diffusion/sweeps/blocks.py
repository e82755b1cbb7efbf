"""What a report is made of before it is a page or a text: headings, paragraphs, tables, plots, sheets of pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True)
class Heading:
    """A heading.

    Args:
        level: 2 for a section, 3 and 4 inside one.
        text: Plain.
    """

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Text in which `code` and *terms* are marked as in Markdown.

    Args:
        text: One paragraph.
        warning: Whether a reader should not miss it.
    """

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Items:
    """A list of paragraphs.

    Args:
        items: Marked as those are.
    """

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table of cells that are already written.

    Args:
        columns: Headings; those before `texts` are aligned left, the others right.
        rows: As many cells each.
        texts: How many columns hold text.
        caption: What it shows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """A plot.

    Args:
        name: A file's, without its ending.
        svg: The drawing.
        caption: What it shows.
    """

    name: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Sheet:
    """Pictures in rows and columns.

    Args:
        name: A file's, without its ending.
        columns: Heading and explanation of each column.
        rows: Label and the pictures' files.
        caption: What it shows.
        shown: How many columns a page shows, which holds the pictures itself, by their places.
    """

    name: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[tuple[str, Sequence[Path]]]
    caption: str
    shown: Sequence[int]


@dataclass(frozen=True)
class Fold:
    """Blocks that a page shows once they are asked for.

    Args:
        title: What is inside.
        blocks: Those.
    """

    title: str
    blocks: Sequence["Block"]


Block: TypeAlias = Heading | Paragraph | Items | Table | Plot | Sheet | Fold
MISSING = "–"


def number(value: float | None, spec: str) -> str:
    """Write a figure; a dash where nothing was measured.

    Args:
        value: The figure.
        spec: A format of Python's.
    """
    return MISSING if value is None or math.isnan(value) else format(value, spec)


def interval(ends: Sequence[float] | None, spec: str) -> str:
    """Write a mean with its interval, such as "97.3% (95.0–99.1)".

    Args:
        ends: Mean, lower and upper end; `None` where nothing was measured.
        spec: A format of Python's.
    """
    if ends is None:
        return MISSING
    mean, low, high = (number(value, spec) for value in ends)
    between = " to " if "+" in spec else "–"
    return f"{mean} ({low.rstrip('%')}{between}{high.rstrip('%')})"
