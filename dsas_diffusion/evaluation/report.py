"""Figures for people: aligned tables, strict JSON, and sheets of twins with their prompts."""

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError

#: What JSON gets for the PSNR of identical pictures, in dB: it has no infinity.
PSNR_CEILING = 100.0
_MISSING = "–"
_GROUND, _INK, _FAINT, _RULE = (255, 255, 255), (24, 24, 28), (110, 110, 118), (222, 222, 226)
# The sheet's measures in pixels.
_GAP, _MARGIN, _HEADER, _LINE = 8, 20, 26, 18
# Pillow's own font knows little beyond ASCII; what it lacks is written with what it has.
_SPELLED = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "×": "x", "λ": "lambda ", "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o"}
)


def format_table(rows: Sequence[Sequence[object]], columns: Mapping[str, str]) -> str:
    """Lay out a small table for the terminal.

    Args:
        rows: One sequence of cells a row, as many as there are columns. A number is written by its column's format;
            text stands as it is; `None` and NaN become "–", infinity "∞".
        columns: Header → format: "" for text, aligned left; any other format of Python's (`".1f"`, `".1%"`, `"d"`) for
            numbers, aligned right.

    Returns:
        Lines without trailing blanks, joined by line ends.

    Raises:
        InputError: If a row has another number of cells.
    """
    formats = list(columns.values())
    cells = _cells(rows, formats)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]

    def line(parts: Sequence[str]) -> str:
        aligned = [
            part.rjust(width) if spec else part.ljust(width)
            for part, width, spec in zip(parts, widths, formats, strict=True)
        ]
        return "  ".join(aligned).rstrip()

    return "\n".join([line(list(columns)), line(["─" * width for width in widths]), *map(line, cells)])


def markdown_table(rows: Sequence[Sequence[object]], columns: Mapping[str, str]) -> list[str]:
    """Lay out a table in Markdown.

    Args:
        rows: As for `format_table`.
        columns: As for `format_table`.

    Returns:
        Lines without line ends.

    Raises:
        InputError: If a row has another number of cells.
    """
    formats = list(columns.values())
    rule = ["---:" if spec else "---" for spec in formats]
    return [f"| {' | '.join(parts)} |" for parts in (columns, rule, *_cells(rows, formats))]


def to_json(figures: Mapping[str, Any]) -> str:
    """Write figures as strict JSON.

    NaN, a figure that nothing could be measured on, becomes null. Infinity, the PSNR of identical pictures, becomes
    100.0.

    Args:
        figures: Nested mappings and sequences of numbers, strings, booleans and `None`.

    Returns:
        The text, indented, ending in a line end.
    """
    return json.dumps(_plain(figures), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]], headers: Sequence[str], across: int = 1, side: int = 160
) -> Image.Image:
    """Draw pictures side by side, one row a prompt, with the prompt beneath and headers on top.

    Args:
        rows: Prompt and its pictures, one for each header: unsteered, steered and so on.
        headers: What stands above each picture of a row.
        across: How many rows stand beside each other, filled column by column, so that a long list stays a sheet.
        side: Least height and width of a picture in pixels; smaller ones are enlarged by a whole number, pixel by
            pixel.

    Returns:
        An RGB picture.

    Raises:
        InputError: If there is no row or header, or a row has another number of pictures than there are headers.
    """
    if not rows or not headers or across < 1:
        raise InputError(
            f"There are {len(rows)} rows, {len(headers)} headers and across={across}; a sheet needs 1 or more of each."
        )
    for prompt, images in rows:
        if len(images) != len(headers):
            raise InputError(
                f"The row {prompt!r} has {len(images)} pictures, but there are {len(headers)} headers. Give each one."
            )
    prompt_font, header_font = ImageFont.load_default(14), ImageFont.load_default(15)
    pictures = [image for _, images in rows for image in images]
    scale = max(1, math.ceil(side / min(min(image.size) for image in pictures)))
    cell_w, cell_h = (scale * max(extent) for extent in zip(*(image.size for image in pictures), strict=True))
    block_w = len(headers) * (cell_w + _GAP) - _GAP
    wrapped = [_wrap(prompt, prompt_font, block_w) for prompt, _ in rows]
    down = math.ceil(len(rows) / across)
    tops = [_MARGIN + _HEADER]
    for row in range(down):
        lines = max(len(text) for text in wrapped[row::down])
        tops.append(tops[-1] + cell_h + _GAP + lines * _LINE + _MARGIN)
    columns = math.ceil(len(rows) / down)
    sheet = Image.new("RGB", (columns * (block_w + 2 * _MARGIN), tops[-1]), _GROUND)
    pen = ImageDraw.Draw(sheet)
    for column in range(columns):
        left = column * (block_w + 2 * _MARGIN) + _MARGIN
        if column:
            pen.line([(left - _MARGIN, _MARGIN), (left - _MARGIN, sheet.height - _MARGIN)], fill=_RULE)
        for position, header in enumerate(headers):
            pen.text((left + position * (cell_w + _GAP), _MARGIN), _drawable(header), font=header_font, fill=_FAINT)
    for index, (lines, (_, images)) in enumerate(zip(wrapped, rows, strict=True)):
        column, row = divmod(index, down)
        left, top = column * (block_w + 2 * _MARGIN) + _MARGIN, tops[row]
        for position, image in enumerate(images):
            grown = image.convert("RGB").resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
            sheet.paste(grown, (left + position * (cell_w + _GAP), top))
        for number, text in enumerate(lines):
            pen.text((left, top + cell_h + _GAP + number * _LINE), text, font=prompt_font, fill=_INK)
    return sheet


def _cells(rows: Sequence[Sequence[object]], formats: Sequence[str]) -> list[list[str]]:
    for row in rows:
        if len(row) != len(formats):
            raise InputError(f"The row {list(row)} has {len(row)} cells, but the table has {len(formats)} columns.")
    return [[_cell(value, spec) for value, spec in zip(row, formats, strict=True)] for row in rows]


def _cell(value: object, spec: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _MISSING
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return format(value, spec)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return PSNR_CEILING if value > 0 else None
    return value


def _drawable(text: str) -> str:
    spelled = unicodedata.normalize("NFKD", text.translate(_SPELLED))
    bare = "".join(letter for letter in spelled if not unicodedata.combining(letter))
    return "".join(letter if letter.isascii() or letter in "‘’“”…" else "?" for letter in bare)


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, inside a word only if it is longer than a line."""
    lines = [""]
    for word in _drawable(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines
