"""One technique on one task: learned, its strengths searched on tuning prompts, drawn and judged on held-out ones."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from ..backends.diffusion import generate
from ..errors import InputError
from ..evaluation.images import read_image
from ..evaluation.rows import Judge, judge_pictures
from ..files import atomic_write
from ..prompt_set import Prompt, PromptSet
from .plan import Plan, Task
from .rows import Cell, Journal, Row, Split
from .technique import CallArguments, Conditions, Technique

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

#: Seeds between the fits of two seeds of a sweep, so that they share no picture's.
FIT_SEEDS: Final = 10_000
#: What a unit's strengths are searched on.
ASKED: Final = ("source", "mixed")


@dataclass(frozen=True)
class Arena:
    """A task with everything that it is drawn and judged with.

    Args:
        name: The task's, in the plan.
        task: The task.
        plan: The sweep.
        pipe: The pipeline, as it came.
        judge: What says what pictures show.
        concepts: The sets to learn from.
        towards: What is to become of the concept, if the task says so.
        prompts: Split → kind → prompts.
        generation: Sampling settings.
        folder: The sweep's.
    """

    name: str
    task: Task
    plan: Plan
    pipe: "DiffusionPipeline"
    judge: Judge
    concepts: Sequence[PromptSet]
    towards: PromptSet | None
    prompts: Mapping[Split, Mapping[str, Sequence[Prompt]]]
    generation: Mapping[str, Any]
    folder: Path

    def first_seed(self, split: Split, kind: str, seed: int) -> int:
        """First seed of a group of pictures; no two groups of a task share one, nor do they with a fit's.

        Args:
            split: Its split.
            kind: Its kind.
            seed: The sweep's seed.
        """
        part = list(self.prompts[split]).index(kind) + (50 if split == "tuning" else 0)
        return 1_000_000 + 100_000 * seed + 1000 * part

    def batches(self, split: Split, kind: str) -> list[int]:
        """Give where each batch of a group begins."""
        return list(range(0, len(self.prompts[split][kind]), self.plan.batch_size))

    def draw(
        self,
        split: Split,
        kind: str,
        seed: int,
        start: int,
        arguments: CallArguments | None = None,
        count: int | None = None,
    ) -> list[Image.Image]:
        """Draw one batch, as the pipeline is now.

        Args:
            split: Its split.
            kind: Its kind.
            seed: The sweep's seed.
            start: The first prompt's place.
            arguments: What turns prompts into the pipeline's arguments; by default nothing does.
            count: How many; by default a batch of the plan's.
        """
        texts = [prompt.text for prompt in self.prompts[split][kind][start : start + (count or self.plan.batch_size)]]
        first = self.first_seed(split, kind, seed) + start
        drawn = generate(
            self.pipe,
            texts,
            range(first, first + len(texts)),
            batch_size=self.plan.batch_size,
            generation=self.generation,
            arguments=arguments,
        )
        return [image for images in drawn for image in images]

    def twin_paths(self, split: Split, kind: str, seed: int, start: int) -> list[Path]:
        """Where the unsteered pictures of one batch are, or are to be."""
        folder = self.folder / "twins" / self.name / split / f"{seed}" / kind
        count = len(self.prompts[split][kind][start : start + self.plan.batch_size])
        return [folder / f"{start + number:03d}.png" for number in range(count)]

    def twin_batches(self) -> list[tuple[Split, str, int, int]]:
        """Give every batch of unsteered pictures: split, kind, seed, where it begins."""
        return [
            (split, kind, seed, start)
            for split, kinds in self.prompts.items()
            for kind in kinds
            for seed in range(self.plan.seeds)
            for start in self.batches(split, kind)
        ]


class UnfitError(InputError):
    """A technique can't be learned on a task, or there is nothing to remove; other techniques and tasks may well do."""


@dataclass
class Unit:
    """One technique on one task.

    Args:
        arena: The task.
        name: The technique's, in the plan.
        progress: Called with the number of pictures drawn.
        learned: Seed → the technique, prepared.
        fit_seconds: What learning it took, the first time; `None` if it was all there.
    """

    arena: Arena
    name: str
    progress: Callable[[int], None] = lambda count: None
    learned: dict[int, Technique] = field(default_factory=dict)
    fit_seconds: float | None = None

    def run(self, journal: Journal) -> dict[str, Any]:
        """Search the strengths and draw whatever the journal lacks.

        Args:
            journal: Of this task and technique, opened.

        Returns:
            `"centre"`, the λ that the judged ones lie around, or `None` where the plan gives strengths; `"strengths"`.

        Raises:
            UnfitError: If the technique can't be learned, or no unsteered picture shows the concept.
            InputError: If the folder can't be written.
        """
        grid = self.arena.plan.grid
        fixed = self.arena.plan.fixed(self.name)
        centre = None if fixed is not None else self._centre(journal)
        strengths = list(fixed or ()) if centre is None else [centre * factor for factor in grid.around]
        for seed in range(self.arena.plan.seeds):
            for split in self.arena.prompts:
                for strength in strengths:
                    self._draw(journal, split, seed, strength)
        return {"centre": centre, "strengths": strengths}

    def _centre(self, journal: Journal) -> float:
        """Find the first λ that removes enough on tuning prompts, or the one that removes most."""
        grid = self.arena.plan.grid
        reached: dict[float, float] = {}
        for strength in grid.search():
            rows = self._draw(journal, "tuning", 0, strength)
            reached[strength] = removal([row for kind in ASKED for row in rows.get(kind, ())])
            if math.isnan(reached[strength]):
                raise UnfitError(
                    f"No unsteered tuning picture of the task {self.arena.name!r} shows the concept, so no strength "
                    "can be chosen on them. Look at what the pipeline draws for its tuning prompts, or give strengths "
                    "in the plan (grid.strengths)."
                )
            kept = mean([row["objects_kept"] for row in rows["control"]])
            if reached[strength] >= grid.removed or kept < grid.kept:
                break
        return next((λ for λ, gone in reached.items() if gone >= grid.enough), max(reached, key=lambda λ: reached[λ]))

    def _draw(self, journal: Journal, split: Split, seed: int, strength: float) -> dict[str, list[Row]]:
        """Draw and judge all kinds of a split at one strength; what the journal holds is read."""
        arena = self.arena
        cells = {kind: Cell(arena.name, self.name, split, kind, seed, strength) for kind in arena.prompts[split]}
        missing = [
            (cell, start)
            for kind, cell in cells.items()
            for start in arena.batches(split, kind)
            if start not in journal.rows.get(cell, {})
        ]
        if missing:
            technique = self.technique(seed)
            with technique.applied(arena.pipe, strength) as arguments:
                for cell, start in missing:
                    self._batch(journal, cell, start, arguments)
        return {kind: journal.cell(cell) for kind, cell in cells.items()}

    def _batch(self, journal: Journal, cell: Cell, start: int, arguments: CallArguments) -> None:
        """Draw, judge and keep one batch."""
        arena = self.arena
        images = arena.draw(cell.split, cell.kind, cell.seed, start, arguments)
        twins = [read_image(path) for path in arena.twin_paths(cell.split, cell.kind, cell.seed, start)]
        prompts = arena.prompts[cell.split][cell.kind][start : start + len(images)]
        first = arena.first_seed(cell.split, cell.kind, cell.seed) + start
        figures = judge_pictures(arena.judge, images, twins, prompts)
        if cell.split == "heldout" and cell.seed == 0:
            place = arena.folder / "pictures" / cell.task / cell.technique / f"{cell.strength:g}" / "0" / cell.kind
            for number, image in enumerate(images[: max(0, arena.plan.pictures.kept - start)]):
                save_picture(place / f"{start + number:03d}.png", image)
        rows = [
            {"index": float(start + number), "seed": float(first + number), **row} for number, row in enumerate(figures)
        ]
        journal.append(cell, start, rows)
        self.progress(len(rows))

    def technique(self, seed: int) -> Technique:
        """Give the technique as it was learned from a seed; it is learned first where that is missing.

        Args:
            seed: The sweep's seed.

        Raises:
            UnfitError: If it can't be learned.
        """
        arena = self.arena
        if seed not in self.learned:
            technique = arena.plan.techniques[self.name].make()
            conditions = Conditions(FIT_SEEDS * seed, arena.plan.batch_size, arena.generation, arena.towards)
            place = arena.folder / "learned" / arena.name / self.name / f"{seed}"
            began, known = time.monotonic(), place.is_dir()
            try:
                technique.prepare(arena.pipe, arena.concepts, conditions, place)
            except InputError as error:
                raise UnfitError(str(error)) from error
            if not known and self.fit_seconds is None:
                self.fit_seconds = round(time.monotonic() - began, 2)
            self.learned[seed] = technique
        return self.learned[seed]


def draw_twins(arena: Arena, split: Split, kind: str, seed: int, start: int) -> int:
    """Draw one batch of unsteered pictures, unless all of it is there.

    Args:
        arena: The task.
        split: The pictures' split.
        kind: Their kind.
        seed: The sweep's seed.
        start: The first prompt's place.

    Returns:
        How many were drawn.

    Raises:
        InputError: If the folder can't be written.
    """
    paths = arena.twin_paths(split, kind, seed, start)
    if all(path.is_file() for path in paths):
        return 0
    for path, image in zip(paths, arena.draw(split, kind, seed, start), strict=True):
        save_picture(path, image)
    return len(paths)


def save_picture(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        path: Where to.
        image: The picture.

    Raises:
        InputError: If the place can't be written.
    """
    buffer = BytesIO()
    image.save(buffer, "PNG")
    atomic_write(path, buffer.getvalue())


def removal(rows: Sequence[Row]) -> float:
    """Of the pictures whose twin shows the concept, the share that no longer does; NaN where none shows it.

    Args:
        rows: A row a picture.
    """
    shown = [row for row in rows if row["concept_unsteered"] == 1]
    return mean([1 - row["concept_steered"] for row in shown])


def mean(values: Sequence[float]) -> float:
    """Mean of the values that are no NaN; NaN where there are none."""
    counted = [value for value in values if not math.isnan(value)]
    return sum(counted) / len(counted) if counted else math.nan
