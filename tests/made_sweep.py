"""A sweep's folder with made-up rows in the true format, for tests of what is told of it."""

import json
import random
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import yaml
from PIL import Image

from dsas_diffusion.sweeps.plan import Plan, load_plan
from dsas_diffusion.sweeps.rows import Cell, Journal
from dsas_diffusion.sweeps.technique import Technique, as_asked

NAN = float("nan")


class Words(Technique):
    """A technique that is told in words; it stands for rivals."""

    unit_strength: ClassVar[str] = "The words once; more repeats them."
    source: ClassVar[str] = "made up for tests"

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def prepare(self, pipe, concepts, conditions, folder) -> None:
        self.words = [concept.concept.label for concept in concepts]

    @contextmanager
    def applied(self, pipe, strength):
        yield as_asked


class Told(Words):
    oracle: ClassVar[bool] = True


#: Technique → how much a strength removes, and how much it harms what is to be kept, on control prompts and on others.
FORCES = {
    "patch": (1.2, 0.0004, 0.08),
    "vanilla": (1.6, 0.12, 0.15),
    "rival": (1.0, 0.05, 0.05),
    "told": (2.0, 0.02, 0.02),
}
TECHNIQUES: dict[str, Any] = {
    "patch": {"settings": {"method": "caa", "gate": "patch"}, "title": "CAA, patch gate"},
    "vanilla": {"settings": {"method": "caa", "gate": "always"}, "title": "CAA, no gate"},
    "rival": {"use": "made_sweep:Words", "settings": {"weight": 2.0}},
    "told": {"use": "made_sweep:Told"},
}
TASKS: dict[str, Any] = {
    "banana": {"concepts": ["orchard/banana"], "goal": "lemon"},
    "apple": {"concepts": ["orchard/apple"], "goal": "lemon"},
}
CASES = [
    {"case": "look-alikes", "prompt": "a yellow crescent beside a cup", "labels": ["cup"]},
    {"case": "look-alikes", "prompt": "a yellow boomerang and a book", "labels": ["book"]},
    {"case": "misspelt", "prompt": "a bananna", "labels": ["banana"]},
    {"case": "misspelt", "prompt": "two bannanas and a cup", "labels": ["banana", "cup"]},
]


def hash_of(*parts: Any) -> int:
    return zlib.crc32(repr(parts).encode())


def made_row(cell: Cell, index: int, forces: tuple[float, float, float]) -> dict[str, float]:
    """A plausible row: its twin's part is the same for every technique and strength."""
    twin = random.Random(hash_of(cell.task, cell.split, cell.kind, cell.seed, index))
    asked = cell.kind in ("source", "mixed", "misspelt")
    shown = float(asked and twin.random() < 0.95)
    others = cell.kind != "source" and twin.random() < 0.9
    goal = float(twin.random() < 0.1)
    hard = twin.random()  # the same prompts resist every technique
    own = random.Random(hash_of(cell, index))
    removes, harms = cell.strength * forces[0], cell.strength * forces[1 if cell.kind == "control" else 2]
    left = float(shown and hard + 0.2 * own.random() > removes)
    harm = harms * (0.5 + own.random())
    kept = float(own.random() > harm) if others else NAN
    return {
        "index": float(index),
        "seed": 1000.0 * cell.seed + index,
        "psnr": min(100.0, 60 / (1 + 10 * harm)),
        "ssim": max(0.0, 1 - harm),
        "concept_unsteered": shown,
        "concept_steered": left,
        "concept_left": left if shown else NAN,
        "objects_kept": kept,
        "invented": float(own.random() < harm),
        "change_inside": removes * 0.1 if shown else NAN,
        "change_outside": harm * 0.1,
        "sharpness_inside": 1 / (1 + removes) if shown else NAN,
        "sharpness_outside": 1 - harm * 0.1,
        "goal_unsteered": goal,
        "goal_steered": max(goal, shown - left),
    }


def write_plan(folder: Path, **changed: Any) -> Plan:
    """Write a plan, as the sweep copies it into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "title": "A made-up sweep",
        "tasks": TASKS,
        "techniques": TECHNIQUES,
        "pictures": {"tuning": 6, "heldout": 8, "kept": 2},
        "seeds": 2,
        **changed,
    }
    (folder / "plan.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return load_plan(folder / "plan.yaml")


def write_cases(path: Path) -> str:
    path.write_text("".join(json.dumps(case) + "\n" for case in CASES), encoding="utf-8")
    return str(path)


def picture(path: Path, *parts: Any) -> None:
    dice = random.Random(hash_of(*parts))
    image = Image.new("RGB", (16, 16), tuple(dice.randrange(256) for _ in range(3)))
    image.paste(tuple(dice.randrange(256) for _ in range(3)), (4, 4, 12, 12))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def write_sweep(folder: Path, centres: dict[str, float] | None = None, drawn: bool = True, **changed: Any) -> Plan:
    """Write a whole sweep.

    Args:
        folder: Where to.
        centres: Technique → the λ that the judged ones lie around; by default 1.
        drawn: Whether pictures are written, too.
        changed: Parts of the plan.
    """
    plan = write_plan(folder, **changed)
    (folder / "sweep.json").write_text(json.dumps({"device": "cpu", "threads": 1, "library_version": "0.0"}))
    run = {"command": "dsas sweep --plan made.yaml", "date": "2026-01-02", "cores": 2, "torch": "2.9"}
    (folder / "run.json").write_text(json.dumps(run))
    for task, technique in plan.units():
        centre = (centres or {}).get(technique, 1.0)
        write_unit(folder, plan, task, technique, centre)
        if drawn:
            write_pictures(folder, plan, task, technique, centre)
    return plan


def judged(plan: Plan, centre: float) -> list[float]:
    return list(plan.grid.strengths or [centre * factor for factor in plan.grid.around])


def write_unit(folder: Path, plan: Plan, task: str, technique: str, centre: float = 1.0) -> None:
    about, forces = plan.tasks[task], FORCES.get(technique, (1.0, 0.05, 0.05))
    parts = {"tuning": about.tuning(plan.pictures.tuning), "heldout": about.heldout(plan.pictures.heldout)}
    journal = Journal(folder, task, technique)
    with journal.opened():
        for split, kinds in parts.items():
            for kind, prompts in kinds.items():
                for seed in range(plan.seeds):
                    for strength in judged(plan, centre):
                        cell = Cell(task, technique, split, kind, seed, strength)
                        rows = [made_row(cell, index, forces) for index in range(len(prompts))]
                        for start in range(0, len(rows), plan.batch_size):
                            journal.append(cell, start, rows[start : start + plan.batch_size])
    place = folder / "units" / task / technique / "unit.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    unit = {"centre": centre, "strengths": judged(plan, centre), "fit_seconds": 12.5, "unit_strength": "one of it",
            "source": "a paper", "oracle": technique == "told"}  # fmt: skip
    if task == next(iter(plan.tasks)):
        unit |= {"ratio": 1.0 + forces[1], "ratio_low": 1.0, "ratio_high": 1.2, "seconds": 0.5}
    if technique == "patch":
        unit |= {"gate_auroc": 0.95, "gate_iou": 0.6}
    place.write_text(json.dumps(unit))


def write_pictures(folder: Path, plan: Plan, task: str, technique: str, centre: float = 1.0) -> None:
    for kind, prompts in plan.tasks[task].heldout(plan.pictures.heldout).items():
        for index in range(min(plan.pictures.kept, len(prompts))):
            picture(folder / "twins" / task / "heldout" / "0" / kind / f"{index:03d}.png", task, kind, index)
            for strength in judged(plan, centre):
                place = folder / "pictures" / task / technique / f"{strength:g}" / "0" / kind / f"{index:03d}.png"
                picture(place, task, technique, kind, index, strength)
            if kind == "mixed" and technique == "patch":
                picture(folder / "maps" / task / technique / f"{index:03d}.png", "map", task, index)
