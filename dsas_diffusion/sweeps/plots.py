"""Fronts drawn as SVG: staircases with bands and names at their ends, in the colours of the page around them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final, Literal

import numpy as np

#: Colours of emphasised techniques for light and dark grounds, told apart by people with any kind of colour vision
#: (after Okabe and Ito, 2008, darkened or lightened to stand out by 3 : 1), in the order that they are given out.
COLOURS: Final = (
    ("#0067a5", "#5cb8f5"),
    ("#c24a00", "#ff8f4d"),
    ("#00795a", "#3fcfa4"),
    ("#a03d78", "#eb9ccb"),
    ("#8a6a00", "#e8b93a"),
    ("#5b4fb3", "#b1a7ff"),
    ("#5f5f5f", "#c9c9c9"),
)
_LIGHT, _DARK = (" ".join(f"--c{n}: {pair[side]};" for n, pair in enumerate(COLOURS)) for side in (0, 1))
#: Variables that a plot takes its colours from; a page declares them, a file on its own carries them.
VARIABLES: Final = f"""
:root {{ --ink: #1d1d22; --ground: #ffffff; --faint: #6a6a73; --rule: #dcdce2; --others: #a9a9b2;
  {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #ececf1; --ground: #16161a; --faint: #a3a3ad; --rule: #3a3a42;
  --others: #6d6d77; {_DARK} }} }}
"""
Scale = Literal["linear", "nines"]
_WIDTH, _HEIGHT = 690, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 96, 244, 16, 56
_LETTERS: Final = 24  # of a name at a line's end
_SPACING: Final = 21  # between two names, in the plot's units
_CLOSEST: Final = 1e-5  # what 1 is told from on the scale of nines


@dataclass(frozen=True)
class Line:
    """A technique in a plot.

    Args:
        name: Its title.
        front: What `findings` tells of its front.
        colour: Place in `COLOURS`; `None` for one of the grey ones in the back.
        dashed: Whether it stands apart.
    """

    name: str
    front: Mapping[str, Any]
    colour: int | None
    dashed: bool = False


def front_plot(lines: Sequence[Line], band_at: Sequence[float], label: str, told: str, scale: Scale = "linear") -> str:
    """Draw fronts: the best preservation at every removal or more, over λ.

    Filled dots lie on the front, hollow ones are strengths that another one beats in both. The band is the 95 %
    interval of the front's height, removal by removal.

    Args:
        lines: The techniques.
        band_at: The removals that bands are told at.
        label: What the upright axis shows.
        told: What the plot shows, for those who don't see it.
        scale: `"nines"` spreads what lies close to 1.

    Returns:
        An SVG element that loads nothing and takes its colours from `VARIABLES`.
    """
    axis = _Axis(scale, _lowest(lines, scale))
    ordered = sorted(lines, key=lambda line: (line.colour is not None, -(line.colour or 0)))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="17"><title>{escape(told)}</title>',
        *_axes(axis, label),
    ]
    for line in ordered:
        parts += _drawn(line, band_at, axis)
    parts += _names([line for line in lines if line.colour is not None], axis)
    return "\n".join([*parts, "</svg>"])


def standalone(svg: str) -> str:
    """Give a plot that stands in a file of its own, light or dark as its reader likes.

    Args:
        svg: As `front_plot` gives it.
    """
    head, end, rest = svg.partition("</title>")
    ground = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="var(--ground)"/>'
    return f"{head}{end}<style>{VARIABLES}</style>{ground}{rest}\n"


@dataclass(frozen=True)
class _Axis:
    scale: Scale
    lowest: float

    def x(self, removal: float) -> float:
        return _LEFT + removal * (_WIDTH - _LEFT - _RIGHT)

    def y(self, preservation: float) -> float:
        lowest, highest = self._of(self.lowest), self._of(1.0)
        share = (self._of(min(max(preservation, self.lowest), 1.0)) - lowest) / (highest - lowest)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def _of(self, value: float) -> float:
        return -math.log10(max(1 - value, _CLOSEST)) if self.scale == "nines" else value

    def ticks(self) -> list[tuple[float, str]]:
        if self.scale == "nines":
            found = [0.0, 0.9, 0.99, 0.999, 0.9999, 1.0]
            return [(value, f"{value:g}") for value in found if value >= self.lowest]
        step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if step == 0.2 or (1 - self.lowest) / step <= 6)
        return [(1 - step * n, f"{1 - step * n:g}") for n in range(int((1 - self.lowest) / step + 1e-6) + 1)]


def _lowest(lines: Sequence[Line], scale: Scale) -> float:
    values = [point["preservation"] for line in lines for point in line.front["points"]]
    least = min(values, default=0.0)
    if scale == "nines":
        return max([edge for edge in (0.0, 0.9, 0.99, 0.999) if edge <= least], default=0.0)
    return max(0.0, math.floor(least * 20 - 0.2) / 20)


def _axes(axis: _Axis, label: str) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = []
    for value, text in axis.ticks():
        y = axis.y(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="var(--rule)"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 5:.1f}" text-anchor="end" fill="var(--faint)">{text}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = axis.x(share)
        parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="var(--faint)"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 23}" text-anchor="middle" fill="var(--faint)">{share:.0%}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<path d="M{_LEFT} {bottom}H{right}" stroke="var(--faint)"/>')
    parts.append(
        f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle" fill="var(--ink)">removal, at least</text>'
    )
    turned = (_TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(18 {turned:.0f}) rotate(-90)" text-anchor="middle" fill="var(--ink)">'
        f"{escape(label)}</text>"
    )
    return parts


def _drawn(line: Line, band_at: Sequence[float], axis: _Axis) -> list[str]:
    colour = "var(--others)" if line.colour is None else f"var(--c{line.colour})"
    points = line.front["points"]
    parts = [f"<g><title>{escape(line.name)}</title>"]
    if line.colour is not None:
        parts.append(f'<path d="{_band(line.front["band"], band_at, axis)}" fill="{colour}" opacity=".14"/>')
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    width = 1.2 if line.colour is None else 2.2
    parts.append(f'<path d="{_staircase(points, axis)}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')
    for point in points[1:]:
        fill = colour if point["front"] else "var(--ground)"
        about = f"{line.name}, {point['mark']}: removal {point['removal']:.1%}, {point['preservation']:.4f}"
        parts.append(
            f'<circle cx="{axis.x(point["removal"]):.1f}" cy="{axis.y(point["preservation"]):.1f}" '
            f'r="{2.5 if line.colour is None else 4}" fill="{fill}" stroke="{colour}" stroke-width="1.5">'
            f"<title>{escape(about)}</title></circle>"
        )
    return [*parts, "</g>"]


def _staircase(points: Sequence[Mapping[str, Any]], axis: _Axis) -> str:
    """From no removal at all up to the highest one, down a step wherever less has to do."""
    front = sorted((point["removal"], point["preservation"]) for point in points if point["front"])
    path = f"M{axis.x(front[0][0]):.1f} {axis.y(front[0][1]):.1f}"
    for removal, preservation in front[1:]:
        path += f"V{axis.y(preservation):.1f}H{axis.x(removal):.1f}"
    return path


def _band(band: Sequence[Sequence[float]], band_at: Sequence[float], axis: _Axis) -> str:
    low, high = (np.asarray(ends) for ends in band)
    there = [place for place in range(len(band_at)) if high[place] > 0]
    if not there:
        return "M0 0"
    edges = [0.0, *(band_at[place] for place in there)]
    over, under = "", ""
    for number, place in enumerate(there):
        left, right = axis.x(edges[number]), axis.x(edges[number + 1])
        over += f"{'M' if not over else 'L'}{left:.1f} {axis.y(high[place]):.1f}H{right:.1f}"
        under = f"L{right:.1f} {axis.y(low[place]):.1f}H{left:.1f}" + under
    return f"{over}{under}Z"


def _names(lines: Sequence[Line], axis: _Axis) -> list[str]:
    """Names beside the ends of their lines, moved apart where they would lie on one another."""
    right = _WIDTH - _RIGHT
    ends = []
    for line in lines:
        front = [point for point in line.front["points"] if point["front"]]
        last = max(front, key=lambda point: point["removal"])
        ends.append((axis.y(last["preservation"]), axis.x(last["removal"]), line))
    ends.sort(key=lambda end: (end[0], end[2].name))
    places: list[float] = []
    for y, _, _ in ends:
        places.append(max(y, places[-1] + _SPACING) if places else max(y, _TOP))
    over = max(0.0, (places[-1] if places else 0) - (_HEIGHT - _BOTTOM))
    for number in range(len(places) - 1, -1, -1):  # push up what went below the plot
        ceiling = places[number] - over if number == len(places) - 1 else places[number + 1] - _SPACING
        places[number] = min(places[number], ceiling)
    parts = []
    for (y, x, line), place in zip(ends, places, strict=True):
        colour = f"var(--c{line.colour})"
        parts.append(
            f'<path d="M{x + 5:.1f} {y:.1f}L{right + 6} {place:.1f}h6" fill="none" stroke="{colour}" '
            'stroke-width=".8" opacity=".7"/>'
        )
        short = line.name if len(line.name) <= _LETTERS else f"{line.name[: _LETTERS - 1]}…"
        parts.append(f'<text x="{right + 15}" y="{place + 5:.1f}" fill="{colour}">{escape(short)}</text>')
    return parts
