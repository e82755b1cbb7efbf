"""`dsas demo`: fit on a bundled concept, draw held-out prompts with and without steering, judge, report."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from .. import orchard
from ..drawing import draw_twins
from ..errors import InputError
from ..evaluation.clip_judge import ClipJudge
from ..evaluation.report import to_json
from ..files import atomic_folder
from ..fitting.fit import fit
from ..gates.base import GATES
from ..hooks.attached_concept import checked_strength
from ..hooks.steerer import Steerer
from ..methods.base import METHODS
from ..models import device_of
from ..prompts import load_prompts
from .figures import (
    BATCH_SIZE,
    GENERATIONS,
    KINDS,
    Bench,
    blur,
    cost,
    first_seed,
    judged,
    localisation,
    rivals,
    summary,
)
from .report import card, gate_sheet, grid, markdown, table

Goal = Literal["remove", "blur"]
PipelineName = Literal["unet", "dit"]


@dataclass(frozen=True)
class Task:
    """What becomes of the concept in one of Orchard's pipelines.

    Args:
        strength: λ where none is given, chosen for the patch gate on tuning prompts by `python -m benchmarks.strength`.
        towards: The prompt set that the map leads along; `None` for the concept's own targets.
        settings: Settings of gates, by name, where they are not the defaults.
    """

    strength: float
    towards: str | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


TASKS: Final[dict[Goal, dict[PipelineName, Task]]] = {
    "remove": {"unet": Task(2.5), "dit": Task(2.0, settings={"patch": {"core": 0.7}})},
    "blur": {
        "unet": Task(1.5, "orchard/blur", {"patch": {"core": 0.5}}),
        "dit": Task(2.0, "orchard/blur", {"patch": {"core": 0.5}}),
    },
}
_WRITTEN: Final = ("report.json", "report.md", "grid.png", "gates.png", "images", "steerer")


def demo(
    concept: str = "banana",
    pipeline: PipelineName = "unet",
    task: Goal = "remove",
    method: str = "caa",
    gate: str = "patch",
    strength: float | None = None,
    seed: int = 0,
    device: str | None = None,
    out: str = "outputs/demo",
    quick: bool = False,
) -> None:
    """Remove or blur one of Orchard's objects, and show with pictures and figures what that did and what it left alone.

    Fits on the bundled prompts, draws held-out ones of three kinds with and without steering from the same seeds
    (source: the concept alone; control: everything else; mixed: the concept beside something else), judges both with
    Orchard's detector and CLIP, and sets vanilla steering and a gate that sees no places beside it at the strengths
    that remove as much on tuning prompts.

    Args:
        concept: One of Orchard's objects.
        pipeline: Which of Orchard's pipelines draws: unet (Stable Diffusion) or dit (Stable Diffusion 3).
        task: What becomes of it: remove or blur.
        method: How to steer, by name.
        gate: When and where to steer, by name.
        strength: The strength λ; by default what tuning prompts chose for the pipeline, the task and the patch gate.
        seed: First seed of the fit and of the pictures.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.
        out: Folder for the report, the pictures and the steerer; an earlier demo there is replaced.
        quick: 16 held-out prompts of each kind instead of 64, and no rivals beside it. A blur has none either, since
            rivals are matched by removal.

    Raises:
        InputError: If the concept, the pipeline, the task or a name is unknown, the strength is not finite, or the
            folder can't be written.
    """
    if concept not in orchard.OBJECTS:
        raise InputError(f"concept is {concept!r}, but the demo knows Orchard's objects: {', '.join(orchard.OBJECTS)}.")
    for name, value, kind in (("task", task, Goal), ("pipeline", pipeline, PipelineName)):
        if value not in get_args(kind):
            raise InputError(f"{name} is {value!r}, but must be one of: {', '.join(get_args(kind))}.")
    to_do, generation = TASKS[task][pipeline], GENERATIONS[pipeline]
    chosen = checked_strength(to_do.strength if strength is None else strength)[0]
    for names, name in ((GATES, gate), (METHODS, method)):
        names[name]  # raises for an unknown one
    where = device_of(device)
    prompts = load_prompts(f"orchard/{concept}")
    with atomic_folder(out, overwrite=_WRITTEN) as folder:
        pipe = orchard.load_pipeline(pipeline).to(where)
        judge = ClipJudge(*orchard.load_clip(), device=where, name="orchard")
        heldout = {kind: prompts.heldout[kind][: 16 if quick else None] for kind in KINDS}
        bench = Bench(pipe, judge, orchard.load_detector(device=where), prompts, heldout, seed, folder, generation)

        def fitted(gate: str, **settings: Any) -> Steerer:
            return fit(
                pipe,
                prompts,
                method=method,
                gate=GATES[gate](**to_do.settings.get(gate, {})),
                towards=to_do.towards,
                strength=chosen,
                seed=seed,
                batch_size=BATCH_SIZE,
                generation=generation,
                **settings,
            )

        steerer = fitted(gate)
        for number, kind in enumerate(KINDS):
            first = first_seed(seed, number)
            place = folder / "images" / kind
            draw_twins(pipe, steerer, heldout[kind], first, place, generation, BATCH_SIZE)
        compared = task == "remove" and gate != "always" and not quick
        figures = {kind: judged(bench, kind, "steered") for kind in KINDS}
        located, run = localisation(bench, steerer)
        report: dict[str, Any] = {
            "concept": concept,
            "pipeline": pipeline,
            "task": task,
            "method": method,
            "gate": gate,
            "strength": chosen,
            "seed": seed,
            **generation,
            "fit": {
                "seconds": steerer.manifest["fit"]["seconds"],
                "sites": steerer.diagnose().sites,
                "samples": steerer.manifest["fit"]["samples"],
            },
            **summary(bench, figures, "steered"),
            "localisation": located,
            "cost": cost(pipe, steerer, heldout["control"], generation),
            "blur": blur(figures) if task == "blur" else None,
            "rivals": rivals(bench, steerer, figures, fitted) if compared else {},
        }
        (folder / "report.json").write_text(to_json(report), encoding="utf-8")
        (folder / "report.md").write_text(markdown(report), encoding="utf-8")
        grid(folder, heldout).save(folder / "grid.png")
        shutil.rmtree(folder / "targets")
        steerer.card = card(report, folder, heldout)
        steerer.save_pretrained(folder / "steerer")
        if run is not None:
            gate_sheet(folder, heldout["mixed"], run).save(folder / "gates.png")
    print(table(report))
    print(f"\nLook at {Path(out) / 'report.md'} with its pictures; every figure is in report.json beside it.")
