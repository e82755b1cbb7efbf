"""The sweep's report for people: each method with its gate and without, the fronts, and every point of the grid."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .evaluation.report import format_table, markdown_table
from .methods.base import METHODS
from .sweep_cells import ARMS
from .sweep_figures import KEPT, REMOVED

#: A strength is enough where it removes so much.
ENOUGH: Final = 0.9
#: The removals at which the fronts are written down.
LEVELS: Final = (0.5, 0.75, 0.9, 0.95, 0.99)
#: Figure → its heading and format.
_FIGURES: Final = {
    "removal": ("removal", ".1%"),
    "ssim": ("control SSIM", ".4f"),
    "control_kept": ("control kept", ".1%"),
    "other_kept": ("other kept", ".1%"),
    "no_invented": ("no invented", ".1%"),
}
_MORE: Final = {"psnr": ("control PSNR, dB", ".1f"), "change_outside": ("change outside", ".4f")}
#: What a plane is called, in the order of `PLANES`.
_PLANES: Final = {"ssim": "control SSIM", "other_kept": "other kept"}
_VERDICTS: Final = {
    "method": "",
    "removal against": "",
    **dict.fromkeys(ARMS, ".4f"),
    "difference": "+.4f",
    "95% from": "+.4f",
    "to": "+.4f",
    "the gate is": "",
}


def table(report: Mapping[str, Any]) -> str:
    """Whether each method is ahead with its gate, for the terminal."""
    return format_table(_verdicts(report["methods"]), _VERDICTS)


def markdown(report: Mapping[str, Any]) -> str:
    """report.md: how it was made, the gate against none for each method, the fronts, and the whole grid."""
    settings, methods = report["settings"], report["methods"]
    concept, kinds = settings["concept"], settings["pictures"]
    generation = settings["generation"]
    lines = [
        f"# Every method with its gate and without: {concept}",
        "",
        f"`{report['command']}`, {report['date']}, {report['cores']} cores.",
        "",
        f"Each cell is one method at one λ, from one seed, with the gate `{settings['gate']}` or with the same maps "
        f"open everywhere: {kinds['source']} held-out prompts that ask for a {concept}, {kinds['mixed']} that ask for "
        f"it beside something else and {kinds['control']} control prompts, {generation['num_inference_steps']} steps, "
        f"guidance {generation['guidance_scale']:g}. There are {settings['seeds']} seeds, each with a fit of its own; "
        "a prompt's value is the mean over them.",
        "",
        f"*Removal*: share of the source and mixed pictures that show a {concept} unsteered and don't when steered. "
        "*Control SSIM*: mean over control pictures, to their unsteered twins. *Control kept*, *other kept*: share of "
        f"the other named objects drawn unsteered that are still there, on control and on mixed pictures. *No "
        "invented*: share of source and mixed pictures with no object that nobody asked for; a smear is no removal.",
        "",
        f"Both arms of a method have the same λ: {', '.join(f'{s:g}' for s in settings['strengths'])}, then doubled "
        f"until each arm has removed {REMOVED:.0%} or keeps less than {KEPT:.0%} of the control objects, at most up to "
        f"{settings['highest']:g}. The rule is the same for all methods, though λ does not mean the same in each (see "
        "the end).",
        *_notes(methods, report["begun"]),
        "",
        f"## At the first λ that removes {ENOUGH:.0%}",
        "",
        "Where none does, the λ that removes most, marked with *.",
        "",
        *markdown_table(
            [
                [name, arm, *_first(found["arms"][arm]["points"]), found["planes"]["ssim"][arm]]
                for name, arm, found in _arms(methods)
            ],
            {"method": "", "arm": "", "λ": "g", **dict(_FIGURES.values()), "hypervolume (SSIM)": ".4f"},
        ),
        "",
        "## Is the gate ahead?",
        "",
        "Hypervolume over λ with the gate, without, and the difference with its 95% interval by the paired bootstrap "
        "over prompts: of removal and control SSIM, and of removal and other kept, since control pictures say nothing "
        "about what lies beside the concept. *Ahead* or *behind* where the interval leaves 0 out.",
        "",
        *markdown_table(_verdicts(methods), _VERDICTS),
        "",
        "## The fronts",
        "",
        "The best control SSIM at a removal of so much or more, over λ, and that λ.",
        "",
        *markdown_table(
            [
                [name, arm, *(_best(found["arms"][arm]["points"], level) for level in LEVELS)]
                for name, arm, found in _arms(methods)
            ],
            {"method": "", "arm": "", **{f"{level:.0%}": "" for level in LEVELS}},
        ),
        "",
        "## The whole grid",
        "",
        *markdown_table(
            [
                [
                    name,
                    arm,
                    row["strength"],
                    *(row[key] for key in {**_FIGURES, **_MORE}),
                    "yes" if row["front"] else "",
                ]
                for name, arm, found in _arms(methods)
                for row in found["arms"][arm]["points"]
            ],
            {"method": "", "arm": "", "λ": "g", **dict([*_FIGURES.values(), *_MORE.values()]), "on the front": ""},
        ),
        "",
        "## What λ = 1 means",
        "",
        *(f"- `{name}`: {METHODS[name].unit_strength}" for name in methods),
        "",
    ]
    return "\n".join(lines)


def _notes(methods: Mapping[str, Any], begun: Sequence[str]) -> list[str]:
    capped = [f"{name} {arm}" for name, arm, found in _arms(methods) if found["arms"][arm]["capped"]]
    unfinished = [name for name, found in methods.items() if not found["finished"]]
    notes = []
    if capped:
        notes.append(f"The largest λ ended the grid, not the rule, for: {', '.join(capped)}.")
    if unfinished:
        notes.append(f"Not all of the grid is drawn yet for: {', '.join(unfinished)}.")
    if begun:
        notes.append(f"No λ is complete yet for: {', '.join(begun)}.")
    return [line for note in notes for line in ("", note)]


def _arms(methods: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    return [(name, arm, found) for name, found in methods.items() for arm in ARMS]


def _verdicts(methods: Mapping[str, Any]) -> list[list[object]]:
    return [
        [
            name,
            _PLANES[figure],
            *(plane[arm] for arm in ARMS),
            *plane["better_by"],
            plane["verdict"] + ("" if found["finished"] else " so far"),
        ]
        for name, found in methods.items()
        for figure, plane in found["planes"].items()
    ]


def _first(points: Sequence[Mapping[str, Any]]) -> list[object]:
    enough = next((row for row in points if row["removal"] >= ENOUGH), None)
    row = max(points, key=lambda row: row["removal"]) if enough is None else enough
    return [row["strength"] if enough else f"{row['strength']:g} *", *(row[key] for key in _FIGURES)]


def _best(points: Sequence[Mapping[str, Any]], level: float) -> str:
    enough = [row for row in points if row["removal"] >= level]
    best = max(enough, key=lambda row: row["ssim"], default=None)
    return "–" if best is None else f"{best['ssim']:.4f} at {best['strength']:g}"
