"""Writes measured figures into the model cards beside Orchard's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..errors import InputError
from ..files import atomic_write, read_text
from .check import asked_text
from .figures import Figure
from .weight_files import WEIGHTS

BEGIN: Final = "<!-- figures: written by `dsas orchard check --write_cards` -->"
END: Final = "<!-- end of figures -->"


def write_cards(figures: Sequence[Figure]) -> None:
    """Put figures between the marks of each measured model's card.

    Args:
        figures: What was measured; those of the scenes have no card.

    Raises:
        InputError: If a card is missing, has lost its marks, or can't be written.
    """
    for model in dict.fromkeys(figure.model for figure in figures if figure.model != "scenes"):
        card = WEIGHTS / model / "README.md"
        text = read_text(card)
        if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
            raise InputError(
                f"{card} must hold the lines {BEGIN!r} and {END!r} once each, in this order. Put them back."
            )
        before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
        atomic_write(card, f"{before}\n{figure_table([f for f in figures if f.model == model])}\n{after}")


def figure_table(figures: Sequence[Figure]) -> str:
    """Lay figures out as a Markdown table, with the parts of each below it."""
    lines = ["| figure | measured | asked | n | 95 % interval |", "|---|---|---|---|---|"]
    for figure in figures:
        low, high = figure.interval
        lines.append(
            f"| {figure.name} | {figure.value:.1%} | {asked_text(figure)} | {figure.n} | {low:.1%} to {high:.1%} |"
        )
    for figure in figures:
        if figure.parts:
            parts = ", ".join(f"{name} {value:.1%} ({n})" for name, (value, n) in figure.parts.items())
            lines += ["", f"{figure.name[0].upper()}{figure.name[1:]}, by part (n): {parts}."]
    return "\n".join(lines)
