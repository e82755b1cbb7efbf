"""Token heat for the terminal: figures under each token, coloured where colours are wanted."""

import unicodedata
from collections.abc import Mapping
from typing import Final

from torch import Tensor

from ..errors import InputError
from .token_heat import TokenHeat

#: Backgrounds of the 256-colour palette from white to pink, under black figures.
_RAMP: Final = (231, 225, 219, 213, 207, 201)
_CELL: Final = 4
_GATE: Final = "gate h"
_CHANGE: Final = "change %"


def heat_lines(heat: TokenHeat, width: int = 100, colour: bool = True) -> str:
    """Lay out gates and changes of a text: a column a token, a row a layer.

    Gates are h from 0 to 1, behind each layer's weight s; changes are per cent of the activation's own length. The
    figures tell everything; colours repeat them, changes as a share of the text's largest one.

    Args:
        heat: What was measured.
        width: Columns of the terminal; longer texts are broken into several tables.
        colour: Write ANSI colours.

    Returns:
        Lines without trailing blanks, joined by line ends.

    Raises:
        InputError: If the terminal is too narrow for a layer's name and one token.
    """
    shown = [_visible(token) for token in heat.tokens]
    names = {path: f"{path} s={heat.weights[path]:.2f}" for path in heat.gates} | {
        p: p for p in heat.changes if p not in heat.gates
    }
    title = max(len(_GATE), len(_CHANGE), *map(len, names.values()))
    columns = [max(_CELL, _width(token)) for token in shown]
    if title + 1 + max(columns) > width:
        raise InputError(
            f"width={width} is too narrow for a layer's name and a token, which need {title + 1 + max(columns)} "
            "columns. Widen the terminal, or write the page instead."
        )
    largest = max((float(each.max()) for each in heat.changes.values()), default=0.0)
    lines: list[str] = []
    start = 0
    while start < len(shown):
        end, used = start, title
        while end < len(shown) and used + 1 + columns[end] <= width:
            used += 1 + columns[end]
            end += 1
        part = slice(start, end)
        header = " ".join(
            " " * (size - _width(token)) + token for token, size in zip(shown[part], columns[part], strict=True)
        )
        for label, rows, most, share in ((_GATE, heat.gates, 1.0, 1), (_CHANGE, heat.changes, largest, 100)):
            lines.append(f"{label.ljust(title)} {header}".rstrip())
            lines += _rows(rows, names, title, part, columns[part], most, share, colour)
            lines.append("")
        start = end
    return "\n".join(lines[:-1])


def _rows(
    values: Mapping[str, Tensor],
    names: Mapping[str, str],
    title: int,
    part: slice,
    columns: list[int],
    most: float,
    share: int,
    colour: bool,
) -> list[str]:
    lines = []
    for path, each in values.items():
        cells = [
            _cell(share * value, size, value / most if most else 0.0, colour)
            for value, size in zip(each[part].tolist(), columns, strict=True)
        ]
        name = names[path] if share == 1 else path
        lines.append(f"{name.ljust(title)} {' '.join(cells)}")
    return lines


def _cell(figure: float, size: int, level: float, colour: bool) -> str:
    text = f"{figure:.2f}" if figure < 9.995 else f"{figure:.0f}"
    if not colour:
        return text.rjust(size)
    shade = _RAMP[round(level * (len(_RAMP) - 1))]
    return f"{' ' * (size - len(text))}\x1b[38;5;16;48;5;{shade}m{text}\x1b[0m"


def _visible(token: str) -> str:
    """A token on one line, its blanks left out, its control characters shown."""
    bare = token.strip(" ") or "␣"
    return "".join("↵" if letter == "\n" else "·" if not letter.isprintable() else letter for letter in bare)


def _width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
