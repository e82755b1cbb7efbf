"""`dsas sweep`: techniques over tasks, strengths and seeds, as one plan says; taken up where it stopped."""

import json
import os
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from tqdm import tqdm

from .. import __version__
from ..claims import claim, digest
from ..errors import InputError
from ..evaluation.presence import Detector, known_objects
from ..evaluation.report import to_json
from ..evaluation.rows import Judge
from ..files import atomic_write, read_json, read_text
from ..judges import clip_judge, detector_judge
from ..models import device_of, load_pipeline
from ..prompts import PromptSet, load_prompts
from .costs import cost
from .estimate import check_disk, estimate
from .folder import FORMAT, MANIFEST, PLAN, RUN
from .gate_maps import localised
from .plan import Plan, Task, load_plan
from .report import tell
from .rows import Journal, read_rows
from .steering import Steering
from .unit import Arena, UnfitError, Unit, draw_twins

if TYPE_CHECKING:
    from accelerate import PartialState
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

#: How long one process waits for another to finish its last technique.
PATIENCE: Final = timedelta(days=7)
#: Bytes of a pixel as PNG, about.
PIXEL: Final = 1.5


def sweep(plan: str, out: str = "outputs/sweep", device: str | None = None, dry_run: bool = False) -> None:
    """Compare techniques that keep a concept out of pictures, over strengths and seeds, by one plan.

    Whatever is finished stays in the folder: stopped anywhere and started again, the sweep goes on where it was, with
    the same table at the end. Several processes, on one machine or on several that share the folder, divide the work:
    `torchrun --nproc-per-node 2 -m dsas_diffusion.cli sweep --plan …`. On CPUs all need the same number of threads
    (OMP_NUM_THREADS). At the end stands the report that `dsas report` writes; what could not be learned is told then.

    Args:
        plan: A YAML file; `benchmarks/plans` holds some.
        out: Folder for pictures, rows, what was learned, and the report.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.
        dry_run: Say how much is to be drawn, how long it takes and what it needs on disk, and stop.

    Raises:
        InputError: If the plan can't be met, the folder holds another sweep or something else, or it can't be written;
            in the end if a technique could not be learned.
    """
    asked, folder = load_plan(plan), Path(out)
    state = _processes(device)
    where = device_of(device if state.num_processes == 1 else str(state.device))
    arenas = arenas_of(asked, where, folder)
    if state.is_main_process:
        claim(folder, _settings(asked, arenas, where), MANIFEST, "sweep")
        atomic_write(folder / PLAN, read_text(plan))
        atomic_write(folder / RUN, to_json(_run(plan, out, where, state)))
        _tell(arenas, folder, state)
    state.wait_for_everyone()
    if dry_run:
        return
    timed = _firsts(asked) if asked.cost else set()
    unfit: list[str] = []
    with _bar(arenas, folder, state) as bar:
        batches = [(arena, batch) for arena in arenas for batch in arena.twin_batches()]
        for arena, batch in batches[state.process_index :: state.num_processes]:
            bar.update(draw_twins(arena, *batch))
        state.wait_for_everyone()
        for task, technique in asked.units():
            bar.set_postfix_str(f"{technique}, {task}")
            arena = next(arena for arena in arenas if arena.name == task)
            with Journal(folder, task, technique).opened() as journal:
                if journal is None:
                    continue  # another process is at it
                try:
                    run_unit(Unit(arena, technique, bar.update), journal, timed=(task, technique) in timed)
                except UnfitError as error:
                    unfit.append(f"{technique!r} on {task!r}: {error}")
    state.wait_for_everyone()
    if state.is_main_process:
        tell(folder, folder)
    state.wait_for_everyone()  # a process that ends with an error takes the others with it
    if unfit:
        raise InputError(
            f"All that could be drawn is in the report, but not {' '.join(unfit)} Mend the plan and run it again, or "
            "leave them out."
        )


def run_unit(unit: Unit, journal: Journal, timed: bool) -> None:
    """Do whatever is left of one technique on one task, and keep what it was besides its pictures.

    Args:
        unit: The technique on the task.
        journal: Its rows, opened.
        timed: Whether its time is measured.

    Raises:
        UnfitError: If it can't be learned, or there is nothing to remove.
        InputError: If the folder can't be written, or holds the unit with other settings.
    """
    arena = unit.arena
    path = arena.folder / "units" / arena.name / unit.name / "unit.json"
    about: dict[str, Any] = read_json(path) if path.is_file() else {}
    asked = json.loads(to_json({"task": asdict(arena.task), "technique": asdict(arena.plan.techniques[unit.name])}))
    if about.setdefault("asked", asked) != asked:
        raise InputError(
            f"{path} tells of {unit.name!r} on {arena.name!r} with other settings than the plan has now. Their figures "
            "can't stand in one table: give the technique or task another name, or name another folder with --out."
        )
    atomic_write(path, to_json(about))
    try:
        about |= unit.run(journal)
    except UnfitError:
        if not journal.rows:
            path.unlink()  # nothing is there yet that other settings could be mixed with
        raise
    if not unit.learned and "unit_strength" in about and ("ratio" in about or not timed):
        return  # it was finished before, so that nothing has to be learned
    technique = unit.technique(0)
    if unit.fit_seconds is not None:
        about.setdefault("fit_seconds", unit.fit_seconds)
    about |= {"unit_strength": technique.unit_strength, "source": technique.source, "oracle": technique.oracle}
    if "gate_auroc" not in about and isinstance(technique, Steering):
        about |= localised(arena, technique, unit.name)
    if timed and "ratio" not in about:
        about |= cost(arena, technique, about["centre"] or about["strengths"][0])
    atomic_write(path, to_json(about))


def arenas_of(plan: Plan, device: torch.device, folder: Path) -> list[Arena]:
    """Load everything that a plan's tasks are drawn and judged with.

    Args:
        plan: The plan.
        device: Where to compute.
        folder: The sweep's.

    Raises:
        InputError: If a pipeline or judge can't be loaded, or none can tell a task's concept.
    """
    pipes: dict[str, DiffusionPipeline] = {}
    clip, detector = clip_judge(plan.clip, device), detector_judge(plan.detector, device)
    found = []
    for name, task in plan.tasks.items():
        where = task.pipeline or plan.pipeline
        if where not in pipes:
            pipes[where] = load_pipeline(where, device, plan.precision)
        concepts = task.sets()
        about = task.judged().concept
        judge = Judge(
            detector,
            clip,
            about.text,
            about.alternatives,
            _labels(task, concepts, detector),
            task.goal,
            clip.feature_maps if clip is not None and plan.backbone == "clip" else None,
        )
        found.append(
            Arena(
                name,
                task,
                plan,
                pipes[where],
                judge,
                concepts,
                load_prompts(task.towards) if task.towards else None,
                {"tuning": task.tuning(plan.pictures.tuning), "heldout": task.heldout(plan.pictures.heldout)},
                {**plan.generation, **task.generation},
                folder,
            )
        )
    return found


def _labels(task: Task, concepts: Sequence[PromptSet], detector: Detector | None) -> tuple[str, ...]:
    """The detector's objects that stand for the concept; none where it is no object, and CLIP has to tell."""
    if task.labels or detector is None:
        return tuple(task.labels)
    objects = known_objects(detector)
    return tuple(dict.fromkeys(each.concept.label for each in concepts if each.concept.label in objects))


def _processes(device: str | None) -> "PartialState":
    from accelerate import PartialState  # here, since it takes a second to import

    return PartialState(cpu=device is not None and device.startswith("cpu"), timeout=PATIENCE)


def _settings(plan: Plan, arenas: Sequence[Arena], device: torch.device) -> dict[str, Any]:
    """Everything that figures depend on, so that those of two settings never stand in one table."""
    pipes = {id(arena.pipe): arena.pipe for arena in arenas}
    return {
        "format": FORMAT,
        "plan": _plain(plan),
        "prompts": {arena.name: [concept.digest for concept in arena.concepts] for arena in arenas},
        "weights": [
            digest(entry for _, part in sorted(pipe.components.items()) if isinstance(part, nn.Module)
                   for entry in part.state_dict().items())
            for pipe in pipes.values()
        ],
        "device": device.type,
        # The last bits of a picture depend on it, and untouched control pictures are to be their twins bit for bit.
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "library_version": __version__,
    }  # fmt: skip


def _plain(plan: Plan) -> dict[str, Any]:
    left_out = {"title", "tasks", "techniques", "cost"}
    if plan.backbone == "none":
        left_out.add("backbone")  # folders from before there was one stay what they are
    return {name: value for name, value in asdict(plan).items() if name not in left_out}


def _run(plan: str, out: str, device: torch.device, state: "PartialState") -> dict[str, Any]:
    """What a reader needs to run it again."""
    threads = f"OMP_NUM_THREADS={torch.get_num_threads()} " if device.type == "cpu" else ""
    many = (
        f"torchrun --nproc-per-node {state.num_processes} -m dsas_diffusion.cli" if state.num_processes > 1 else "dsas"
    )
    return {
        "command": f"{threads}{many} sweep --plan {shlex.quote(plan)} --out {shlex.quote(out)}",
        "date": f"{date.today():%Y-%m-%d}",
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "processes": state.num_processes,
        "torch": torch.__version__,
    }


def _tell(arenas: Sequence[Arena], folder: Path, state: "PartialState") -> None:
    """Say what is left, by the time that one batch takes, and refuse what the disk can't hold."""
    arena = arenas[0]
    began = time.perf_counter()
    drawn = arena.draw(*arena.twin_batches()[0])
    seconds = (time.perf_counter() - began) / len(drawn)
    done = {cell: len(rows) for cell, rows in read_rows(folder).items()}
    left = estimate(arenas, done, seconds, PIXEL * drawn[0].width * drawn[0].height)
    print(left.told(state.num_processes), flush=True)
    check_disk(folder, left.megabytes)


def _bar(arenas: Sequence[Arena], folder: Path, state: "PartialState") -> tqdm:
    """A bar over all pictures; of several processes the first shows its own."""
    left = estimate(arenas, {cell: len(rows) for cell, rows in read_rows(folder).items()}, 0, 0)
    total = (left.twins + left.pictures) // state.num_processes
    return tqdm(total=total, desc="sweep", unit="picture", disable=not state.is_main_process, smoothing=0.02)


def _firsts(plan: Plan) -> set[tuple[str, str]]:
    """Each technique on the first of its tasks: where its time is measured."""
    found: dict[str, str] = {}
    for task, technique in plan.units():
        found.setdefault(technique, task)
    return {(task, technique) for technique, task in found.items()}
