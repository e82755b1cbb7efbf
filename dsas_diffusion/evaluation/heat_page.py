"""Token heat as one HTML file that needs nothing else: figures by hover or by the arrow keys, light and dark."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from torch import Tensor

from ..errors import InputError
from .token_heat import TokenHeat

_STYLE: Final = """
:root { color-scheme: light dark; --tint: 214 51 132; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  background: Canvas; color: CanvasText; }
h2 { font-size: 1rem; margin: 2.5rem 0 .5rem; }
.text span { background: rgb(var(--tint) / calc(var(--v) * .8)); border-radius: .2em; padding: .1em .2em;
  margin: 0 .1em; display: inline-block; white-space: pre-wrap; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: separate; border-spacing: 2px; font-size: .8rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; }
th { font-weight: 400; text-align: right; white-space: pre; padding: .1em .4em; }
tbody th { position: sticky; left: 0; background: Canvas; }
td { text-align: right; min-width: 2.6em; padding: .1em .4em; background: rgb(var(--tint) / calc(var(--v) * .8)); }
td:focus { outline: 3px solid CanvasText; }
output { position: sticky; bottom: 0; display: block; min-height: 1.5em; padding: .5rem 0; background: Canvas;
  border-top: 1px solid GrayText; }
"""
# One cell of each table takes part in tabbing; arrows go on from there.
_SCRIPT: Final = """
const told = document.querySelector("output");
const tell = cell => { told.textContent = cell.title; };
for (const table of document.querySelectorAll("table")) {
  table.addEventListener("mouseover", event => { if (event.target.title) tell(event.target); });
  table.addEventListener("focusin", event => { if (event.target.title) tell(event.target); });
  table.addEventListener("keydown", event => {
    const steps = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };
    const [down, right] = steps[event.key] ?? [0, 0];
    if (!(down || right) || !event.target.title) return;
    event.preventDefault();
    const row = table.tBodies[0].rows[event.target.parentNode.sectionRowIndex + down];
    const next = row?.cells[event.target.cellIndex + right];
    if (next?.tagName !== "TD") return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
"""


def heat_page(heats: Sequence[TokenHeat], title: str = "What steering did, token by token") -> str:
    """Write a page of texts with their gates and changes.

    Above each pair of tables stands the text, tinted by its gates' mean over layers, weighted by s. A column is a
    token, a row a layer; the tint of a gate is h itself, that of a change its share of the text's largest one.

    Args:
        heats: One a text, at least one.
        title: The page's title.

    Returns:
        HTML that loads nothing from elsewhere; all text is escaped.

    Raises:
        InputError: If there is no text.
    """
    if not heats:
        raise InputError("No text was given to show. Give at least one.")
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        "<p>Tinted is where gates are open (h, from 0 to 1) and how far activations were moved, as a share of their "
        "own length. Point at a figure, or go from one to the next with the arrow keys.</p>",
    ]
    for number, heat in enumerate(heats, start=1):
        parts += _section(number, heat)
    parts += ['<output aria-live="polite"></output>', f"<script>{_SCRIPT}</script></body></html>"]
    return "\n".join(parts) + "\n"


def _section(number: int, heat: TokenHeat) -> list[str]:
    gates = {path: (f"{path}, s = {heat.weights[path]:.2f}", scores) for path, scores in heat.gates.items()}
    moved = {path: (path, each) for path, each in heat.changes.items()}
    largest = max((float(each.max()) for each in heat.changes.values()), default=0.0)
    words = "".join(
        f'<span style="--v:{value:.3f}" title="{_quoted(token)}: mean gate {value:.3f}">{escape(token)}</span>'
        for token, value in zip(heat.tokens, heat.mean_gate().tolist(), strict=True)
    )
    return [
        f"<section><h2>Text {number}, λ = {heat.strength:g}</h2>",
        f'<p class="text">{words}</p>',
        *_table("Gate h", "gate", heat.tokens, gates, 1.0),
        *_table("Change, |t′ − t| / |t|", "change", heat.tokens, moved, largest),
        "</section>",
    ]


def _table(
    caption: str, kind: str, tokens: Sequence[str], rows: Mapping[str, tuple[str, Tensor]], most: float
) -> list[str]:
    header = "".join(f'<th scope="col">{escape(token)}</th>' for token in tokens)
    lines = [f'<div class="wide"><table><caption>{caption}</caption><thead><tr><td></td>{header}</tr></thead><tbody>']
    for number, (path, (label, values)) in enumerate(rows.items()):
        cells = "".join(
            f'<td tabindex="{0 if number == place == 0 else -1}" style="--v:{value / most if most else 0:.3f}" '
            f'title="{_quoted(token)} at {escape(path)}: {kind} {value:.4f}">{value:.2f}</td>'
            for place, (token, value) in enumerate(zip(tokens, values.tolist(), strict=True))
        )
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return [*lines, "</tbody></table></div>"]


def _quoted(token: str) -> str:
    return escape(f"“{token}”")
