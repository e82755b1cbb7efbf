"""`dsas sweep`: steering methods with their gate and without, over a grid of strengths; resumed where it stopped."""

import json
import os
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import product, starmap
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from tqdm import tqdm

from . import __version__, orchard
from .claims import claim, digest
from .demo_figures import BATCH_SIZE, KINDS
from .errors import InputError
from .evaluation.report import to_json
from .files import atomic_write
from .gates.base import GATES
from .hooks.fingerprint import fingerprint
from .hooks.steerer import Steerer
from .methods.base import METHODS
from .models import device_of
from .prompt_set import did_you_mean
from .prompts import load_prompts
from .sweep_cells import ARMS, SUITES, Cell, Runner, cells_in
from .sweep_figures import compared, due, points_of
from .sweep_report import markdown, table

MANIFEST: Final = "sweep.json"
#: So many fits still share no picture's seed with the pictures that are judged.
SEEDS: Final = 100


def sweep(
    suite: str = "family",
    concept: str = "banana",
    methods: list[str] | str | None = None,
    gate: str = "patch",
    seeds: int = 2,
    out: str = "outputs/sweep",
    report: str | None = None,
    device: str | None = None,
) -> None:
    """Compare steering methods with their learned gate and without, over the same strengths, on held-out prompts.

    Whatever is finished stays in the folder: stopped anywhere and started again, the sweep goes on where it was, with
    the same figures at the end. Several processes may share the folder if each takes other methods; on a CPU all need
    the same number of threads (OMP_NUM_THREADS). The report covers every method found there.

    Args:
        suite: How much is drawn: family.
        concept: One of Orchard's objects.
        methods: How to steer: a name, or several as a list; by default every method there is.
        gate: The gate that is compared with none, by name.
        seeds: How many fits, each with pictures of its own.
        out: Folder for fits, cells and the report.
        report: Another markdown file to write the report to.
        device: Where to compute, such as cpu or cuda; by default the GPU if there is one.

    Raises:
        InputError: If a name is unknown, the folder holds a sweep with other settings or something else, or it can't be
            written.
    """
    if suite not in SUITES:
        raise InputError(f"suite is {suite!r}, but must be one of: {', '.join(SUITES)}.{did_you_mean(suite, SUITES)}")
    if concept not in orchard.OBJECTS:
        raise InputError(
            f"concept is {concept!r}, but the sweep knows Orchard's objects: {', '.join(orchard.OBJECTS)}."
        )
    named = (
        list(METHODS) if methods is None else [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    )
    for names, name in ((GATES, gate), *((METHODS, method) for method in named)):
        names[name]  # raises for an unknown one
    if gate == "always":
        others = ", ".join(name for name in GATES if name != "always")
        raise InputError(f"gate is 'always', which every gate is compared with here. Name another one: {others}.")
    if not 1 <= seeds <= SEEDS or not named:
        raise InputError(
            f"seeds is {seeds} and methods {named}; accepted are 1 to {SEEDS} seeds, and 1 method or more."
        )
    where = device_of(device)
    pipe, detector = orchard.load_pipeline("unet").to(where), orchard.load_detector(device=where)
    runner = Runner(pipe, detector, load_prompts(f"orchard/{concept}"), gate, SUITES[suite], Path(out))
    settings = {
        "suite": suite,
        "concept": concept,
        "gate": gate,
        "seeds": seeds,
        "strengths": list(runner.suite.strengths),
        "highest": runner.suite.highest,
        "pictures": {kind: len(runner.prompts_of(kind)) for kind in KINDS},
        "generation": dict(runner.suite.generation),
        "batch_size": BATCH_SIZE,
        "prompts": runner.prompts.digest,
        "model": fingerprint(pipe.unet, [])["config_digest"],
        "weights": _digest(part for _, part in sorted(pipe.components.items()) if isinstance(part, nn.Module)),
        "detector": _digest([detector.network]),
        "device": where.type,
        # The last bits of a picture depend on it, and untouched control pictures are to be their twins bit for bit.
        "threads": torch.get_num_threads() if where.type == "cpu" else None,
        "library_version": __version__,
    }
    claim(runner.folder, settings, MANIFEST, "sweep")
    done = {cell for cell in cells_in(runner.folder) if cell.method in named}
    first = product(named, ARMS, runner.suite.strengths, range(seeds))
    expected = done.union(starmap(Cell, first))
    found: dict[str, Any] = {}
    with tqdm(initial=len(done), total=len(expected), desc=f"sweep {concept}", unit="cell") as bar:
        for method in named:
            draw_method(runner, method, seeds, expected, bar)
            found = write_report(runner.folder, settings, report)
    print(table(found))
    print(f"\nLook at {Path(out) / 'report.md'}; every figure is in report.json beside it.")


def draw_method(runner: Runner, method: str, seeds: int, expected: set[Cell], bar: tqdm) -> None:
    """Draw what is missing of one method's grid, both arms and every seed.

    Args:
        runner: What draws.
        method: The method's name.
        seeds: How many seeds there are.
        expected: The cells that the sweep is known to need, finished ones too; this method's further ones are added.
        bar: Counts them.
    """
    cells = {cell: rows for cell, rows in cells_in(runner.folder).items() if cell.method == method}
    steerers: dict[int, Steerer] = {}
    while (strength := due(runner.suite, points_of(cells, method, seeds))) is not None:
        wanted = [Cell(method, arm, strength, seed) for seed in range(seeds) for arm in ARMS]
        missing = [cell for cell in wanted if cell not in cells]
        expected.update(missing)
        bar.total = len(expected)
        for cell in missing:
            bar.set_postfix_str(f"{method}, λ = {strength:g}")
            if cell.seed not in steerers:
                steerers[cell.seed] = runner.steerer(method, cell.seed)
            cells[cell] = runner.run(cell, steerers[cell.seed])
            bar.update()


def write_report(folder: Path, settings: Mapping[str, Any], copy: str | None) -> dict[str, Any]:
    """Write report.json and report.md over every cell that the folder holds.

    Args:
        folder: The sweep's folder.
        settings: As for `claim`.
        copy: Another file for the same page.

    Returns:
        What report.json holds.

    Raises:
        InputError: If a cell is damaged, or a file can't be written.
    """
    cells, suite = cells_in(folder), SUITES[settings["suite"]]
    names = [name for name in METHODS if any(cell.method == name for cell in cells)]
    points = {name: points_of(cells, name, settings["seeds"]) for name in names}
    started = [name for name in names if any(points[name].values())]
    words = "".join(f" --{key} {settings[key]}" for key in ("suite", "concept", "gate", "seeds"))
    only = "" if len(names) == len(METHODS) else f" --methods '{json.dumps(names)}'"
    threads = f"OMP_NUM_THREADS={settings['threads']} " if settings["threads"] else ""
    report = {
        "command": f"{threads}dsas sweep{words}{only}",
        "date": f"{date.today():%Y-%m-%d}",
        "cores": os.cpu_count(),
        "settings": settings,
        "methods": {name: compared(suite, points[name]) for name in started},
        "begun": [name for name in names if name not in started],
    }
    page = markdown(report)
    atomic_write(folder / "report.json", to_json(report))
    atomic_write(folder / "report.md", page)
    if copy is not None:
        atomic_write(copy, page)
    return report


def _digest(modules: Iterable[nn.Module]) -> str:
    return digest(entry for module in modules for entry in module.state_dict().items())
