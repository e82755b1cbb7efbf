"""The pictures of a sweep's report: the same prompts and seeds, technique under technique, and maps of gates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .blocks import Block, Paragraph, Sheet
from .folder import Sweep
from .report_tables import title

#: How many pictures of a kind a page holds; a sheet beside the text shows all that were kept.
SHOWN: Final = 2
_MAPPED: Final = "mixed"


def sheets(sweep: Sweep, found: Mapping[str, Any], task: str) -> list[Block]:
    """Give one task's pictures at operating point B, the unsteered ones first.

    Args:
        sweep: What was drawn.
        found: Its findings.
        task: The task.
    """
    strengths = _strengths(found, task)
    twins = [(kind, index) for kind, index in _kept(sweep, task) if _twin(sweep, task, kind, index).is_file()]
    rows, without = [], []
    for technique, strength in strengths.items():
        folder = sweep.folder / "pictures" / task / technique / f"{strength:g}" / "0"
        paths = [folder / kind / f"{index:03d}.png" for kind, index in twins]
        if all(path.is_file() for path in paths):
            rows.append((f"{title(found, technique)}, λ = {strength:g}", paths))
        else:
            without.append(title(found, technique))
    blocks: list[Block] = []
    if twins and rows:
        own = [_twin(sweep, task, kind, index) for kind, index in twins]
        blocks.append(
            Sheet(
                f"pictures-{task}",
                [_column(sweep, task, kind, index) for kind, index in twins],
                [("unsteered", own), *rows],
                f"The first prompts of each kind on {task}, from the same seeds in every row.",
                [place for place, (_, index) in enumerate(twins) if index < SHOWN],
            )
        )
    else:
        blocks.append(Paragraph(f"No pictures of {task} were kept, or none at operating point B."))
    if without and rows:
        blocks.append(Paragraph(f"Not kept were pictures of: {', '.join(without)}."))
    return blocks


def maps(sweep: Sweep, found: Mapping[str, Any], task: str) -> list[Block]:
    """Give one task's maps of gates, beside the unsteered pictures that they were read from.

    Args:
        sweep: What was drawn.
        found: Its findings.
        task: The task.
    """
    kept = [(kind, index) for kind, index in _kept(sweep, task) if kind == _MAPPED]
    rows = []
    for technique in found["techniques"]:
        paths = [sweep.folder / "maps" / task / technique / f"{index:03d}.png" for _, index in kept]
        if paths and all(path.is_file() for path in paths):
            rows.append((title(found, technique), paths))
    own = [_twin(sweep, task, kind, index) for kind, index in kept]
    if not rows or not all(path.is_file() for path in own):
        return []
    columns = [_column(sweep, task, kind, index) for kind, index in kept]
    caption = f"Where gates are open on mixed pictures of {task}: grey where they are shut, pink where they are open."
    return [Sheet(f"maps-{task}", columns, [("unsteered", own), *rows], caption, range(len(kept)))]


def _strengths(found: Mapping[str, Any], task: str) -> dict[str, float]:
    """Technique → λ at operating point B on one task, hard cases too."""
    alone = next((scope for scope in found["scopes"] if scope["tasks"] == [task]), None)
    if alone is None:
        return {row["technique"]: row["strength"] for row in found["limits"] if row["task"] == task}
    points = {name: alone["operating"]["B"].get(name) for name in alone["techniques"]}
    return {name: point["strengths"][task] for name, point in points.items() if point is not None}


def _kept(sweep: Sweep, task: str) -> list[tuple[str, int]]:
    kinds = sweep.prompts[task]["heldout"]
    return [
        (kind, index) for kind, prompts in kinds.items() for index in range(min(sweep.plan.pictures.kept, len(prompts)))
    ]


def _twin(sweep: Sweep, task: str, kind: str, index: int) -> Path:
    return sweep.folder / "twins" / task / "heldout" / "0" / kind / f"{index:03d}.png"


def _column(sweep: Sweep, task: str, kind: str, index: int) -> tuple[str, str]:
    return f"{kind} {index + 1}", sweep.prompts[task]["heldout"][kind][index].text
