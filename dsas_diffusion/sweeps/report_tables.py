"""The tables of a sweep's report, from its findings."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .blocks import MISSING, Table, interval, number
from .figures import FIGURES

Findings = Mapping[str, Any]
#: What a plane is called.
PLANES: Final = {"ssim": "control SSIM", "other_kept": "other kept"}
#: Verdict → how tables write it, told apart without colours.
VERDICTS: Final = {"ahead": "▲ ahead", "behind": "▼ behind", "not distinguishable": "○ not distinguishable"}
#: The figures of the headline, beside the time.
HEADLINE: Final = ("removal", "clean_removal", "control_kept", "other_kept", "no_invented", "ssim")
#: What it has, too, where a task says so: what is to appear, or what the concept is to become.
BECOMING: Final = {"goal": ("goal",), "towards": ("sharpness_inside", "sharpness_outside")}
#: Figure of hard cases → its format and caption.
LIMITS: Final = {
    "left": (".1%", "Of the pictures whose twin shows the concept, the share that still does"),
    "kept": (".1%", "Of the other objects drawn unsteered, the share that is still there"),
    "ssim": (".4f", "SSIM to the unsteered twin"),
    "no_invented": (".1%", "Pictures without an object that nobody asked for"),
}
#: What marks the configuration that was chosen on tuning prompts.
CHOSEN: Final = "★ "


def title(found: Findings, technique: str, best: str | None = None) -> str:
    """What a technique is called.

    Args:
        found: Everything.
        technique: Its name in the plan.
        best: The configuration to be marked.
    """
    return (CHOSEN if technique == best else "") + found["techniques"][technique]["title"]


def among(found: Findings, scope: Mapping[str, Any]) -> list[str]:
    """Give a scope's techniques that a claim is made about."""
    return [name for name in scope["techniques"] if not found["techniques"][name]["oracle"]]


def apart(found: Findings, scope: Mapping[str, Any]) -> list[str]:
    """Give a scope's techniques that are told in words what to leave out of each prompt."""
    return [name for name in scope["techniques"] if found["techniques"][name]["oracle"]]


def measured(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the figures that any of these rows has."""
    return [
        name for name in FIGURES if any(row.get(name) is not None and row.get(name) == row.get(name) for row in rows)
    ]


def headline_table(found: Findings, scope: Mapping[str, Any], techniques: Sequence[str]) -> Table:
    """A technique a row at operating point B, with what it costs; the chosen configuration first."""
    points = scope["operating"]["B"]
    asked = {key for key in BECOMING if any(found["tasks"][task][key] for task in scope["tasks"])}
    wanted = [*HEADLINE, *(name for key, names in BECOMING.items() if key in asked for name in names)]
    shown = [name for name in wanted if any(points.get(t) and points[t]["figures"][name] for t in techniques)]
    rows = []
    for technique in sorted(techniques, key=lambda name: name != scope["best"]):
        point = points.get(technique)
        told = [interval(point["figures"][name], FIGURES[name].spec) if point else MISSING for name in shown]
        rows.append([title(found, technique, scope["best"]), _met(scope, point), *told, time_of(found, technique)])
    columns = ["technique", "rule B met", *(FIGURES[name].heading for name in shown), "time, steered over not"]
    return Table(columns, rows, 1, f"Operating point B, {scope['name']}: held-out means with 95% intervals.")


def operating_table(found: Findings, scope: Mapping[str, Any], letter: str) -> Table:
    """A technique a row at the strengths that a rule takes."""
    points = {name: scope["operating"][letter].get(name) for name in scope["techniques"]}
    shown = [name for name in FIGURES if any(point and point["figures"][name] for point in points.values())]
    rows = []
    for technique, point in points.items():
        if point is None:
            rows.append([title(found, technique, scope["best"]), *[MISSING] * (2 + len(shown))])
            continue
        told = [interval(point["figures"][name], FIGURES[name].spec) for name in shown]
        strengths = ", ".join(f"{strength:g}" for strength in point["strengths"].values())
        rows.append([title(found, technique, scope["best"]), strengths, _met(scope, point), *told])
    columns = ["technique", "λ", "rule met", *(FIGURES[name].heading for name in shown)]
    which = f", λ in the order of {', '.join(scope['tasks'])}" if scope["pooled"] else ""
    return Table(columns, rows, 1, f"Operating point {letter}, {scope['name']}{which}.")


def comparison_table(found: Findings, scope: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]]) -> Table:
    """Two techniques a row, both planes beside each other; the first is named where it is not always the same."""
    planes = list(dict.fromkeys(pair["plane"] for pair in pairs))
    told: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for pair in pairs:
        told.setdefault((pair["first"], pair["second"]), {})[pair["plane"]] = pair
    one = len({first for first, _ in told}) == 1
    rows = []
    for (first, second), each in told.items():
        mark = " (apart)" if found["techniques"][second]["oracle"] else ""
        verdicts = [VERDICTS[each[plane]["verdict"]] for plane in planes]
        differences = [interval(each[plane]["difference"], "+.4f") for plane in planes]
        names = [title(found, second) + mark] if one else [title(found, first), title(found, second) + mark]
        rows.append([*names, *verdicts, *differences])
    names = ["against"] if one else ["technique", "against"]
    columns = [*names, *(f"by {PLANES[plane]}" for plane in planes),
               *(f"difference, {PLANES[plane]}" for plane in planes)]  # fmt: skip
    subject = f"{title(found, pairs[0]['first'])}: its" if one else "The technique's"
    caption = f"{subject} hypervolume less the other's, on held-out prompts, {scope['name']}."
    return Table(columns, rows, len(names) + len(planes), caption)


def heights_table(found: Findings, scope: Mapping[str, Any], plane: str) -> Table:
    """A technique a row: hypervolume, and the front's height at each level."""
    rows = [
        [
            title(found, name, scope["best"]),
            interval(front["hypervolume"], ".4f"),
            *(interval(height, FIGURES[plane].spec) for height in front["heights"]),
        ]
        for name, front in scope["fronts"][plane].items()
    ]
    columns = ["technique", "hypervolume", *(f"at {level:.0%}" for level in found["levels"])]
    return Table(columns, rows, 1, f"The best {PLANES[plane]} at a removal of so much or more, {scope['name']}.")


def grid_table(found: Findings, task: str) -> Table:
    """A strength a row."""
    grid = found["grid"][task]
    shown = measured([row for rows in grid.values() for row in rows[1:]])
    rows = [
        [title(found, technique), f"{row['strength']:g}", *(number(row[name], FIGURES[name].spec) for name in shown)]
        for technique, each in grid.items()
        for row in each
    ]
    return Table(["technique", "λ", *(FIGURES[name].heading for name in shown)], rows, 1, f"Every λ on {task}.")


def limits_tables(found: Findings, task: str) -> list[Table]:
    """One task's hard cases, a technique a row and a case a column: a table a figure."""
    own = [row for row in found["limits"] if row["task"] == task]
    cases = list(dict.fromkeys(row["case"] for row in own))
    told: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in own:
        told.setdefault(row["technique"], {})[row["case"]] = row
    first = next(iter(told.values()))
    tables = []
    for name, (spec, caption) in LIMITS.items():
        rows = [
            [
                _at(found, technique, next(iter(each.values()))),
                *(interval(each[c]["figures"][name], spec) for c in cases),
            ]
            for technique, each in told.items()
        ]
        if name == "left":  # of how many pictures it is told
            rows.insert(
                0, ["unsteered pictures that show it", *(number(first[case]["shown"], ".1%") for case in cases)]
            )
        if any(cell != MISSING for row in rows for cell in row[1:]):
            columns = ["technique", *(f"{case} ({first[case]['prompts']} prompts)" for case in cases)]
            tables.append(Table(columns, rows, 1, f"{caption}, {task}."))
    return tables


def cost_table(found: Findings) -> Table:
    """A technique a row."""
    rows = []
    for name, about in found["techniques"].items():
        places = about["localisation"].values()
        fit = about["fit_seconds"]
        rows.append(
            [
                about["title"],
                time_of(found, name),
                ", ".join(about["time"]) or MISSING,
                MISSING if fit is None else f"{fit:.0f} s",
                *(_mean([each[key] for each in places]) for key in ("gate_auroc", "gate_iou")),
            ]
        )
    columns = ["technique", "time, steered over not", "measured on", "fit, median", "gate AUROC", "gate IoU"]
    return Table(columns, rows, 1, "What each technique costs, and how well gates find the concept's place.")


def time_of(found: Findings, technique: str) -> str:
    """A technique's time beside the pipeline's own, the median over tasks where several were timed."""
    ratios = list(found["techniques"][technique]["time"].values())
    if not ratios:
        return MISSING
    ends = [statistics.median(r for r, _, _ in ratios), min(r for _, r, _ in ratios), max(r for _, _, r in ratios)]
    return "× " + interval(ends, ".2f")


def tasks_table(found: Findings) -> Table:
    """A task a row."""
    rows = []
    for name, about in found["tasks"].items():
        way = " → ".join(
            str(part) for part in (", ".join(about["concepts"]), about["towards"] or about["goal"]) if part
        )
        each = [", ".join(f"{count} {kind}" for kind, count in about[split].items()) for split in ("heldout", "tuning")]
        settings = ", ".join(f"{key} {value}" for key, value in about["generation"].items())
        rows.append([name, way, about["pipeline"], settings or MISSING, *(text or MISSING for text in each)])
    columns = ["task", "concepts", "pipeline", "sampling", "held-out prompts", "tuning prompts"]
    return Table(columns, rows, len(columns), "Tasks: what is to be kept out of which pictures.")


def techniques_table(found: Findings) -> Table:
    """A technique a row."""
    rows = [
        [
            about["title"] + (" (apart)" if about["oracle"] else ""),
            f"`{about['use']}`",
            ", ".join(f"{key} {value}" for key, value in about["settings"].items()) or MISSING,
            about["source"],
        ]
        for about in found["techniques"].values()
    ]
    return Table(["technique", "what it is", "settings", "source"], rows, 4, "Techniques.")


def _at(found: Findings, technique: str, row: Mapping[str, Any]) -> str:
    return f"{title(found, technique)}, λ = {row['strength']:g}{'' if row['met'] else ' *'}"


def _met(scope: Mapping[str, Any], point: Mapping[str, Any] | None) -> str:
    if point is None:
        return "not measured"
    if not scope["pooled"]:
        return "yes" if point["met"] else f"no, {next(iter(point['tuned'].values())):.1%}"
    return f"{len(point['met'])} of {len(scope['tasks'])}"


def _mean(values: Sequence[float | None]) -> str:
    there = [value for value in values if value is not None]
    return number(statistics.mean(there) if there else None, ".3f")
