"""A sweep's report section by section, before it is a page or a text."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import report_tables as tables
from .blocks import Block, Fold, Heading, Items, Paragraph
from .folder import Sweep
from .report_fronts import comparisons, emphasis, fronts, operating
from .report_pictures import SHOWN, maps, sheets
from .report_tables import PLANES, Findings, title

#: What a manifest says that is told at the top, with what stands before and after it.
_MADE = (
    ("date", "", ""),
    ("cores", "", " cores"),
    ("device", "", ""),
    ("processes", "processes: ", ""),
    ("threads", "threads: ", ""),
    ("torch", "torch ", ""),
    ("library_version", "dsas-diffusion ", ""),
)


def parts(sweep: Sweep, found: Findings) -> list[Block]:
    """Give the whole report.

    Args:
        sweep: What was drawn.
        found: Its findings.
    """
    colours = emphasis(found)
    # Hard cases have tables of their own: a sweep of nothing else has no fronts.
    compared = not all(about["hard_cases"] for about in found["tasks"].values())
    return [
        *_made(found),
        *(_headline(found) if compared else ()),
        *_compared_what(found),
        *([*fronts(found, colours), *comparisons(found), *operating(found)] if compared else ()),
        *_grid(found),
        *_limits(found),
        *_pictures(sweep, found),
        *_cost(found),
        *_strength_one(found),
        *_missing(found),
    ]


def _made(found: Findings) -> list[Block]:
    made, plan = found["made"], found["plan"]
    how = [f"{before}{made[key]}{after}" for key, before, after in _MADE if made.get(key) is not None]
    command = [f"`{made['command']}`"] if "command" in made else []
    blocks: list[Block] = [
        Paragraph(f"{', '.join([*command, *how])}."),
        Paragraph(
            f"{_count(found['techniques'], 'technique')} on {_count(found['tasks'], 'task')}. Every picture is drawn "
            f"from the seed of its unsteered twin and judged beside it. Seeds: {plan['seeds']}, each with a fit and "
            "pictures of its own; a prompt's value is the mean over them. Whatever is chosen is chosen on tuning "
            "prompts; the figures are of held-out ones."
        ),
    ]
    if left_out := made.get("left_out"):
        blocks.append(Paragraph(f"Tasks of the sweep that are not told of here: {', '.join(left_out)}."))
    if found["missing"]:
        blocks.append(
            Paragraph(
                f"This sweep is not finished. Techniques on tasks that are not whole: {len(found['missing'])}; see "
                "“What is missing”. They stand in no front, comparison or operating point; of them the grid has those "
                "λ that are whole.",
                warning=True,
            )
        )
    return blocks


def _headline(found: Findings) -> list[Block]:
    blocks: list[Block] = [Heading(2, "In short")]
    first = [scope for scope in found["scopes"] if scope["headline"]]
    for scope in first:
        if len(first) > 1:
            blocks.append(Heading(3, scope["name"].capitalize()))
        towards = {found["tasks"][task]["towards"] for task in scope["tasks"]} - {None}
        if not towards or not scope["techniques"]:
            blocks += _claim(found, scope)
        else:  # who removes most is not who does what is asked
            blocks.append(
                Paragraph(
                    f"The concept is not to vanish here, but to become what {', '.join(towards)} says, so that removal "
                    "says little: sharpness inside and outside the concept's region tell, in the tables."
                )
            )
        if not any(scope["operating"]["B"].values()):
            continue
        blocks.append(Paragraph(f"Each technique at operating point B: {found['rules']['B']}."))
        blocks.append(tables.headline_table(found, scope, tables.among(found, scope)))
        if others := tables.apart(found, scope):
            blocks.append(
                Paragraph("Apart, outside the claim, are techniques told in words what to leave out of each prompt:")
            )
            blocks.append(tables.headline_table(found, scope, others))
        if nearest := [title(found, name) for name in scope["techniques"] if _unmet(scope, name)]:
            blocks.append(
                Paragraph(
                    "On one task or more no λ meets the rule on tuning prompts for these, which stand there at the "
                    f"nearest one: {', '.join(nearest)}."
                )
            )
    return blocks


def _claim(found: Findings, scope: Mapping[str, Any]) -> list[Block]:
    where = scope["name"]
    if not scope["techniques"]:
        return [Paragraph(f"No technique is finished on {where} yet.")]
    if not scope["tuned"]:
        return [
            Paragraph("There are no tuning prompts, so nothing is chosen or compared; fronts and grid stand below.")
        ]
    if scope["best"] is None:
        gated = any(found["techniques"][name]["gated"] for name in scope["techniques"])
        why = (
            "removal was not measured on its tuning prompts"
            if gated
            else "no finished technique is steering with a gate"
        )
        return [Paragraph(f"Nothing is compared on {where}: {why}.")]
    told = []
    for plane, name in PLANES.items():
        pairs = [pair for pair in scope["comparisons"] if pair["plane"] == plane]
        verdicts = Counter(pair["verdict"] for pair in pairs if not found["techniques"][pair["second"]]["oracle"])
        if verdicts:
            counts = [
                f"ahead of {verdicts['ahead'] or 'none'}",
                f"behind {verdicts['behind'] or 'none'}",
                f"not distinguishable from {verdicts['not distinguishable'] or 'none'}",
            ]
            told.append(f"By removal and {name}, of {verdicts.total()} compared: {', '.join(counts)}.")
    return [
        Paragraph(
            f"Of steering with a gate, **{title(found, scope['best'])}** has the largest hypervolume of removal and "
            f"control SSIM on tuning prompts ({where}), and so stands for it. On held-out prompts it is:"
        ),
        Items(told),
    ]


def _compared_what(found: Findings) -> list[Block]:
    grid = found["plan"]["grid"]
    shown = tables.measured([row for task in found["grid"].values() for rows in task.values() for row in rows[1:]])
    searched = (
        f"On tuning prompts λ rises from {grid['lowest']:g} by factors of 2 until {grid['removed']:.0%} is removed, "
        f"less than {grid['kept']:.0%} of the control pictures' objects is kept, or {grid['highest']:g} is reached. "
        f"The centre is the first λ that removes {grid['enough']:.0%}, or, where none does, the one that removes most; "
        f"judged are {_list(grid['around'])} times the centre. This rule is the same for every technique and task, "
        "though λ does not mean the same in each. Tasks are put together by the place of λ in this grid."
    )
    own = [
        f"*{about['title']}* has strengths of its own: {_list(about['own_strengths'])}."
        for about in found["techniques"].values()
        if about["own_strengths"]
    ]
    return [
        Heading(2, "What was compared"),
        tables.tasks_table(found),
        tables.techniques_table(found),
        Heading(3, "Strengths"),
        Paragraph(" ".join([f"Judged are λ = {_list(grid['strengths'])}." if grid["strengths"] else searched, *own])),
        Heading(3, "What the figures mean"),
        Items([f"*{found['figures'][name]['heading']}*: {found['figures'][name]['meaning']}" for name in shown]),
        Paragraph(
            f"Intervals hold 95% of {found['resamples']} bootstrap resamples of prompts: each task's prompts of each "
            "kind are drawn among their own, all seeds of a prompt together; seeds are not drawn anew. Differences are "
            "paired, with the same resamples on both sides. Each interval is for itself: of many comparisons some "
            "leave 0 out by chance. Where all prompts agree an interval has no width, which says less than it seems: "
            "of n prompts without a failure, a rate of failures of up to about 3 / n is still plausible."
        ),
    ]


def _grid(found: Findings) -> list[Block]:
    if not any(found["grid"].values()):
        return []
    return [
        Heading(2, "The whole grid"),
        Paragraph("Every judged λ that is whole, nothing left out; at λ = 0 every picture is its twin."),
        *(Fold(f"Every λ on {task}", [tables.grid_table(found, task)]) for task, rows in found["grid"].items() if rows),
    ]


def _limits(found: Findings) -> list[Block]:
    hard = [name for name, about in found["tasks"].items() if about["hard_cases"]]
    if not hard:
        return []
    blocks: list[Block] = [
        Heading(2, "Hard cases"),
        Paragraph(
            "Prompts at the limits, each technique at the λ that rule B takes on the task's tuning prompts; * marks "
            "one that does not meet it. Look-alikes show no concept and must come out untouched: for them what is kept "
            "and SSIM count."
        ),
    ]
    for task in hard:
        told = any(row["task"] == task for row in found["limits"])
        own: list[Block] = [*tables.limits_tables(found, task)] if told else []
        blocks += [Heading(3, f"Hard cases: {task}"), *(own or [Paragraph("No technique is finished on it yet.")])]
    return blocks


def _pictures(sweep: Sweep, found: Findings) -> list[Block]:
    blocks: list[Block] = [
        Heading(2, "Pictures"),
        Paragraph(
            "At operating point B, the unsteered pictures first. None is picked: these are the first held-out prompts "
            f"of each kind, from the sweep's first seed. A page has {SHOWN} of each kind, the sheets beside the text "
            "all that were kept."
        ),
    ]
    for task in found["tasks"]:
        blocks += [Heading(3, f"Pictures of {task}"), *sheets(sweep, found, task)]
    mapped = [block for task in found["tasks"] for block in maps(sweep, found, task)]
    return [*blocks, Heading(2, "Where gates are open"), *mapped] if mapped else blocks


def _cost(found: Findings) -> list[Block]:
    return [
        Heading(2, "Cost and localisation"),
        Paragraph(
            "*Time*: median ratio of a call with the technique to one without, over interleaved pairs in one process, "
            "with its interval. *AUROC* and *IoU*: gate maps over mixed held-out pictures, read at λ = 0, against the "
            "detector's heat map of the concept; means over tasks."
        ),
        tables.cost_table(found),
    ]


def _strength_one(found: Findings) -> list[Block]:
    told = [f"*{about['title']}*: {about['unit_strength']}" for about in found["techniques"].values()]
    return [Heading(2, "What strength 1 means"), Items(told)]


def _missing(found: Findings) -> list[Block]:
    told: list[Block] = [Items(found["missing"])] if found["missing"] else [Paragraph("Nothing: every cell is whole.")]
    return [Heading(2, "What is missing"), *told]


def _unmet(scope: Mapping[str, Any], technique: str) -> bool:
    point = scope["operating"]["B"].get(technique)
    return point is not None and len(point["met"]) < len(scope["tasks"])


def _count(things: Collection[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
