"""The sections of a sweep's report that compare: fronts, who is ahead, and operating points."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from . import report_tables as tables
from .blocks import Block, Fold, Heading, Items, Paragraph, Plot
from .plan import STEERING
from .plots import COLOURS, Line, Scale, front_plot
from .report_tables import PLANES, Findings, title


def emphasis(found: Findings) -> dict[str, int]:
    """Choose the techniques that plots show in colours, the same in every plot.

    First the configuration that was chosen, then the same without its gate, then whatever is not steering, then other
    steering, each by hypervolume on tuning prompts.

    Args:
        found: Everything.

    Returns:
        Technique → place in `COLOURS`; no more than there are.
    """
    scope = next((scope for scope in found["scopes"] if scope["techniques"]), None)
    if scope is None:
        return {}
    open_twin = [pair["second"] for pair in scope["gates"] if pair["first"] == scope["best"]]
    volumes, about = scope["tuned"], found["techniques"]

    def rank(name: str) -> tuple[bool, bool, float]:
        volume = volumes.get(name, math.nan)
        return about[name]["use"] == STEERING, about[name]["oracle"], 0.0 if math.isnan(volume) else -volume

    others = sorted(scope["techniques"], key=rank)
    order = dict.fromkeys(name for name in (scope["best"], *open_twin, *others) if name is not None)
    return {name: place for place, name in enumerate(list(order)[: len(COLOURS)])}


def fronts(found: Findings, colours: Mapping[str, int]) -> list[Block]:
    """Give the fronts, a plot and a table a plane.

    Args:
        found: Everything.
        colours: As `emphasis` gives them.
    """
    some_grey = (
        " In colours are the configuration that was chosen, the same without its gate, and then techniques that are "
        "not steering and other steering, each by hypervolume on tuning prompts, as far as colours go; all others are "
        "grey, and their figures stand in the tables."
    )
    return [
        Heading(2, "The fronts"),
        Paragraph(
            "A front is the best preservation that any judged λ reaches at a removal of so much or more. Filled dots "
            "lie on it; hollow ones are beaten in both by another λ of the same technique. Bands and brackets are 95% "
            "intervals. The hypervolume is the area under the front, with the reference point (0, 0): nothing removed, "
            "nothing kept. A dash says that no λ reaches that removal, a lower end of 0 that in some resamples none "
            "does." + (some_grey if len(found["techniques"]) > len(colours) else "")
        ),
        *_each(found, "Fronts", lambda scope: _planes(found, scope, colours)),
    ]


def comparisons(found: Findings) -> list[Block]:
    """Give the verdicts.

    Args:
        found: Everything.
    """
    return [
        Heading(2, "Who is ahead"),
        Paragraph(
            "Steering with a gate, in the configuration chosen on tuning prompts, against every other technique: ▲ "
            "ahead or ▼ behind where the 95% interval of the difference of hypervolumes leaves 0 out, ○ not "
            "distinguishable where it does not."
        ),
        *_each(found, "Who is ahead", lambda scope: _verdicts(found, scope)),
    ]


def operating(found: Findings) -> list[Block]:
    """Give the operating points.

    Args:
        found: Everything.
    """
    return [
        Heading(2, "Operating points by rule"),
        Items([f"**{letter}**: {text}." for letter, text in found["rules"].items()]),
        Paragraph(
            "λ is chosen for each technique on each task, on tuning prompts alone. Where none meets the rule there, "
            "the table says so (of one task with the figure that the rule asks for, of several with how many meet it) "
            "and has the figures of the λ that comes nearest."
        ),
        *_each(found, "Operating points", lambda scope: _points(found, scope)),
    ]


def _each(found: Findings, what: str, tell: Callable[[Mapping[str, Any]], list[Block]]) -> list[Block]:
    """Tell of every scope: what a reader is told first in the open, single tasks of a pool folded."""
    blocks: list[Block] = []
    for scope in found["scopes"]:
        if not scope["techniques"]:
            own: list[Block] = [Paragraph(f"No technique is finished on {scope['name']} yet.")]
        else:
            own = tell(scope)
        if scope["headline"]:
            blocks += [Heading(3, f"{what}: {scope['name']}"), *own]
        else:
            blocks.append(Fold(f"{what}: {scope['name']}", own))
    return blocks


def _planes(found: Findings, scope: Mapping[str, Any], colours: Mapping[str, int]) -> list[Block]:
    blocks: list[Block] = []
    for plane, name in PLANES.items():
        if plane not in scope["fronts"]:
            blocks.append(Paragraph(f"Removal or {name} was not measured here: no prompt has a value."))
            continue
        lines = [
            Line(
                title(found, technique, scope["best"]),
                front,
                colours.get(technique),
                dashed=found["techniques"][technique]["oracle"],
            )
            for technique, front in scope["fronts"][plane].items()
        ]
        scales: tuple[Scale, ...] = ("linear", "nines") if plane == "ssim" else ("linear",)
        blocks += [_plot(found, scope, plane, lines, scale) for scale in scales]
        blocks.append(tables.heights_table(found, scope, plane))
    return blocks


def _plot(found: Findings, scope: Mapping[str, Any], plane: str, lines: list[Line], scale: Scale) -> Plot:
    caption = f"Removal against {PLANES[plane]}, {scope['name']}."
    tasks = scope["tasks"]
    name = f"front-{'-'.join(tasks if len(tasks) <= 3 else [f'{len(tasks)}-tasks', tasks[0]])}-{plane}"
    if scale == "nines":
        caption += " The same with what lies close to 1 spread out: each line up is a tenth as far from 1."
        name += "-nines"
    return Plot(name, front_plot(lines, found["band_at"], PLANES[plane], caption, scale), caption)


def _verdicts(found: Findings, scope: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    if scope["comparisons"]:
        blocks.append(tables.comparison_table(found, scope, scope["comparisons"]))
    if scope["gates"]:
        told = (
            "The same method with its gate, and open everywhere (its map is learned from the concept's region for "
            "gates that see places, else from whole pictures):"
        )
        blocks.append(Paragraph(told))
        blocks.append(tables.comparison_table(found, scope, scope["gates"]))
    return blocks or [Paragraph(f"Nothing is compared on {scope['name']}.")]


def _points(found: Findings, scope: Mapping[str, Any]) -> list[Block]:
    if not any(any(points.values()) for points in scope["operating"].values()):
        why = "there are no tuning prompts, or the rules' figures were not measured"
        return [Paragraph(f"No λ is chosen on {scope['name']}: {why}.")]
    return [tables.operating_table(found, scope, letter) for letter in found["rules"]]
