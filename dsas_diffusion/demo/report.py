"""The demo's report for people: the terminal's table, report.md, twins side by side, gates over pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ..evaluation.gate_pictures import GatesRecorded, overlay
from ..evaluation.report import contact_sheet, format_table
from ..hooks.card import Card
from ..prompts import Prompt
from .figures import KINDS

_SIDES: Final = ("unsteered", "steered")
_NOTHING: Final = "–"


def grid(folder: Path, heldout: Mapping[str, Sequence[Prompt]], each: int = 8) -> Image.Image:
    """Twins side by side with their prompts: some of each kind."""
    rows = [
        (f"{kind}: {prompt.text}", _twins(folder, kind, index))
        for kind in KINDS
        for index, prompt in enumerate(heldout[kind][:each])
    ]
    return contact_sheet(rows, _SIDES, across=len(KINDS))


def card(report: Mapping[str, Any], folder: Path, heldout: Mapping[str, Sequence[Prompt]]) -> Card:
    """What the demo adds to its steerer's model card: the figures, without the rivals, and some of the twins."""
    measured = ((label.strip(), report[part][key]) for label, part, key in _lines(report))
    figures = {label: _written(value) for label, value in measured}
    counts = ", ".join(f"{len(prompts)} {kind}" for kind, prompts in heldout.items())
    drawn = f"λ = {report['strength']:g}, {report['num_inference_steps']} steps, guidance {report['guidance_scale']:g}"
    return Card(
        figures={label: value for label, value in figures.items() if value != _NOTHING},
        about=f"On held-out prompts of orchard/{report['concept']} ({counts}) at {drawn}, judged by Orchard's detector "
        "and CLIP. Rates are shares.",
        picture=grid(folder, heldout, each=2),
        caption=f"Held-out prompts, drawn from the same seeds without steering and with it ({drawn}).",
    )


def gate_sheet(folder: Path, prompts: Sequence[Prompt], run: GatesRecorded, each: int = 8) -> Image.Image:
    """Gate maps over unsteered mixed pictures: where the gates open when they see the concept."""
    rows = [(prompt.text, _twins(folder, "mixed", index)[::-1]) for index, prompt in enumerate(prompts[:each])]
    return overlay(rows, _SIDES[::-1], run)


def _twins(folder: Path, kind: str, index: int) -> list[Image.Image]:
    return [Image.open(folder / "images" / kind / side / f"{index:03d}.png") for side in _SIDES]


def _lines(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    concept = report["concept"]
    blurred = [
        (f"mixed: sharpness on the {concept}, of the twin's", "blur", "inside_ratio"),
        ("mixed: sharpness elsewhere", "blur", "outside_ratio"),
        ("control: sharpness", "blur", "control_ratio"),
    ]
    return [
        *(blurred if report["blur"] else []),
        (f"{concept} drawn, unsteered (source)", "removal", "unsteered_rate"),
        ("  of those, still drawn when steered", "removal", "left"),
        ("  the same by CLIP, unsteered", "removal", "clip_rate_unsteered"),
        ("  the same by CLIP, steered", "removal", "clip_rate_steered"),
        ("  pictures with no invented object", "removal", "no_invented_object"),
        ("  KID to pictures of the target prompts", "removal", "kid_to_target"),
        ("control: objects kept", "preservation", "objects_kept"),
        ("control: median PSNR to the twin, dB", "preservation", "psnr_median"),
        ("control: mean SSIM to the twin", "preservation", "ssim_mean"),
        ("control: CLIP score, unsteered", "preservation", "clip_unsteered"),
        ("control: CLIP score, steered", "preservation", "clip_steered"),
        (f"mixed: {concept} still drawn", "mixed", "left"),
        ("mixed: other object kept", "mixed", "other_kept"),
        ("mixed: change off the concept's region", "mixed", "change_outside"),
        ("mixed: gates against the detector, AUROC", "localisation", "gate_auroc"),
    ]


def _rows(report: Mapping[str, Any]) -> tuple[list[list[object]], dict[str, str]]:
    columns = {"": "", f"{report['gate']} λ={report['strength']:g}": ".3g"}
    sides = [report]
    for name, figures in report["rivals"].items():
        columns[f"{name} λ={figures['strength']:g}"] = ".3g"
        sides.append(figures)
    return [[label, *(side[part][key] for side in sides)] for label, part, key in _lines(report)], columns


def table(report: Mapping[str, Any]) -> str:
    """The report's main figures for the terminal, rivals beside the demo's own gate."""
    return format_table(*_rows(report)) + f"\ntime with steering over without: {report['cost']['overhead_ratio']:.3f}"


def markdown(report: Mapping[str, Any]) -> str:
    """report.md: both sheets, the table, and how sure the differences to the rivals are."""
    rows, columns = _rows(report)
    heads = list(columns)
    lines = [
        f"# {report['concept']}: {report['task']}",
        "",
        f"Orchard's {report['pipeline']}, method {report['method']}, gate {report['gate']}, "
        f"λ = {report['strength']:g}, seed {report['seed']}, "
        f"{report['num_inference_steps']} steps, guidance {report['guidance_scale']:g}; fitted in "
        f"{report['fit']['seconds']:.0f} s. Rates are shares; rivals remove as much on tuning prompts.",
        "",
        "| " + " | ".join(heads) + " |",
        "|---|" + "---|" * (len(heads) - 1),
        *("| " + " | ".join([str(row[0]).strip(), *map(_written, row[1:])]) + " |" for row in rows),
        f"| time with steering over without | {report['cost']['overhead_ratio']:.3f} |" + " |" * (len(heads) - 2),
        "",
    ]
    for name, figures in report["rivals"].items():
        if not figures["matched"]:
            lines.append(f"- {name} does not remove as much at any strength that was tried")
        for key, (mean, low, high) in figures["better_by"].items():
            lines.append(f"- {key.replace('_', ' ')} against {name}: {mean:+.3g} (95 % {low:+.3g} to {high:+.3g})")
    lines += ["", "![twins](grid.png)", ""]
    if report["gate"] != "always":
        lines += ["Where the gates open on pictures that are not steered (λ = 0):", "", "![gates](gates.png)", ""]
    return "\n".join(lines)


def _written(value: Any) -> str:
    return _NOTHING if value is None or value != value else f"{value:.3g}".replace("inf", "∞")
