"""A sweep's report as Markdown, with plots and sheets of pictures as files beside it."""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Final

from ..evaluation.images import read_image
from ..evaluation.report import contact_sheet, markdown_table
from .blocks import Block, Fold, Heading, Items, Paragraph, Plot, Sheet, Table
from .plots import standalone

_SIDE: Final = 96


def markdown(title: str, blocks: Sequence[Block], folder: str) -> str:
    """Write a report.

    Args:
        title: What the report is called.
        blocks: Its parts.
        folder: Name of the folder of plots and sheets, beside the text.

    Returns:
        Markdown that links the files of `files`.
    """
    return "\n".join([f"# {title}", "", *_lines(blocks, folder, 3)]).rstrip() + "\n"


def files(blocks: Sequence[Block]) -> dict[str, bytes]:
    """Draw every plot and sheet: a file's name → its content.

    Args:
        blocks: A report's parts.

    Raises:
        InputError: If a picture can't be read.
    """
    found: dict[str, bytes] = {}
    for block in _flat(blocks):
        if isinstance(block, Plot):
            found[f"{block.name}.svg"] = standalone(block.svg).encode()
        elif isinstance(block, Sheet):
            rows = [(label, [read_image(path) for path in paths]) for label, paths in block.rows]
            sheet, buffer = contact_sheet(rows, [name for name, _ in block.columns], side=_SIDE), BytesIO()
            sheet.save(buffer, "PNG", optimize=True)
            found[f"{block.name}.png"] = buffer.getvalue()
    return found


def _lines(blocks: Sequence[Block], folder: str, level: int) -> Iterable[str]:
    for block in blocks:
        match block:
            case Heading():
                level = block.level + 1
                yield f"{'#' * block.level} {block.text}"
            case Paragraph():
                yield f"> **{block.text}**" if block.warning else block.text
            case Items():
                yield from (f"- {item}" for item in block.items)
            case Table():
                yield from _table(block)
            case Plot():
                yield f"![{block.caption}]({folder}/{block.name}.svg)"
            case Sheet():
                yield f"![{block.caption}]({folder}/{block.name}.png)"
                yield ""
                yield f"{block.caption} Prompts: {'; '.join(f'{name}: “{text}”' for name, text in block.columns)}."
            case Fold():
                yield f"{'#' * level} {block.title}"
                yield ""
                yield from _lines(block.blocks, folder, level + 1)
        yield ""


def _table(table: Table) -> Iterable[str]:
    if table.caption:
        yield table.caption
        yield ""
    columns = {name: "" if place < table.texts else "s" for place, name in enumerate(table.columns)}
    yield from markdown_table([[cell.replace("|", "\\|") for cell in row] for row in table.rows], columns)


def _flat(blocks: Sequence[Block]) -> Iterable[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Fold):
            yield from _flat(block.blocks)
