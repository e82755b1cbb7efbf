"""What a sweep is: tasks, techniques, strengths and seeds, read from one YAML file and checked before anything runs."""

import inspect
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from ..core.registry import UnknownNameError
from ..errors import InputError
from ..models import Precision
from ..prompt_set import CHECK_GROUPS, Prompt, PromptSet, did_you_mean
from ..prompts import load_prompts, read_cases
from ..settings_files import load_settings
from .grid import Grid, check_rising
from .steering import Steering
from .technique import Technique, check_settings

#: What `use: steering` stands for; anything else names a class as `module:Class`.
STEERING: Final = "steering"
#: So many fits still share no picture's seed with the pictures that are judged.
SEEDS: Final = 100
#: So many prompts of a kind, and kinds of a split, still share no seed (`Arena.first_seed`).
MOST: Final = 1000
KINDS: Final = 50


@dataclass(frozen=True)
class Task:
    """What is to be kept out of which pictures.

    Args:
        concepts: Prompt sets to learn from, as `load_prompts` takes them; several are kept out at once.
        prompts: The set whose tuning and held-out prompts are drawn; by default the first of `concepts`.
        cases: Held-out prompts that say which case each is, drawn instead of the set's, as `read_cases` takes them:
            figures are then told case by case.
        towards: A set that says what is to become of the concept, such as `orchard/blur`; by default the sets' own
            targets.
        labels: The detector's objects of which a picture that shows one shows the concept; by default the label of each
            set. Where the detector knows none of them, CLIP's zero-shot choice tells.
        goal: The object that is to appear instead, if one is.
        techniques: Those that the task is for; by default all.
        pipeline: Another pipeline than the plan's.
        generation: Further sampling settings, over the plan's.
    """

    concepts: Sequence[str]
    prompts: str | None = None
    cases: str | None = None
    towards: str | None = None
    labels: Sequence[str] = ()
    goal: str | None = None
    techniques: Sequence[str] | None = None
    pipeline: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)

    def sets(self) -> list[PromptSet]:
        """Load the sets to learn from.

        Raises:
            InputError: If one can't be loaded.
        """
        return [load_prompts(name) for name in self.concepts]

    def judged(self) -> PromptSet:
        """Load the set whose tuning and held-out prompts are drawn.

        Raises:
            InputError: If it can't be loaded.
        """
        return load_prompts(self.prompts or self.concepts[0])

    def heldout(self, each: int) -> dict[str, tuple[Prompt, ...]]:
        """Give the held-out prompts: kind, or case, → so many of them at most.

        Args:
            each: How many of each.

        Raises:
            InputError: If the set or file can't be read or has none.
        """
        if self.cases is None:
            return {kind: tuple(prompts[:each]) for kind, prompts in self.judged().heldout.items()}
        return {case: tuple(prompts[:each]) for case, prompts in read_cases(self.cases).items()}

    def tuning(self, each: int) -> dict[str, tuple[Prompt, ...]]:
        """Give the tuning prompts: kind → so many of them at most.

        Args:
            each: How many of each.

        Raises:
            InputError: If the set can't be read.
        """
        return {kind: tuple(prompts[:each]) for kind, prompts in self.judged().tuning.items()}


@dataclass(frozen=True)
class Entry:
    """A technique of a plan.

    Args:
        use: `"steering"`, or a class that derives from `sweeps.technique.Technique`, as `module:Class`.
        settings: What the class is made with.
        title: How reports call it; by default its name in the plan.
        strengths: The strengths that are judged, in place of the plan's grid: for a technique that has no more than
            one, such as words that are struck out.
    """

    use: str = STEERING
    settings: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None
    strengths: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.strengths is not None:
            check_rising("strengths of a technique", self.strengths)

    def make(self) -> Technique:
        """Make the technique, unprepared.

        Raises:
            InputError: If there is no such class, or it refuses a setting.
        """
        kind: Any = Steering if self.use == STEERING else _imported(self.use)
        check_settings(self.use, kind, self.settings)
        return kind(**self.settings)


@dataclass(frozen=True)
class Pictures:
    """How many prompts of each kind are drawn, at most, from each seed.

    Args:
        tuning: Of the tuning prompts.
        heldout: Of the held-out ones.
        kept: How many pictures of each held-out cell are kept for the report.
    """

    tuning: int = 16
    heldout: int = 48
    kept: int = 4

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (0 if name == "kept" else 1) <= value <= MOST:
                raise InputError(f"pictures has {name}={value}; accepted are 1 to {MOST} (kept may be 0).")


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Args:
        title: What the report is called.
        tasks: Name → task.
        techniques: Name → technique.
        pipeline: As for `dsas fit --model`.
        precision: The type of the pipeline's weights.
        generation: Sampling settings, of fits too.
        clip: The CLIP judge, as for `dsas evaluate images`: `"orchard"`, `"none"` or an open_clip model.
        detector: What says which objects a picture shows: `"orchard"` or `"none"`.
        backbone: What gives feature maps for the perceptual distance: `"clip"`, the CLIP judge's image tower, or
            `"none"`.
        grid: Which strengths are drawn.
        pictures: How many prompts of each kind.
        seeds: How many fits, each with pictures of its own.
        batch_size: Prompts a pipeline call. Pictures are judged and kept a batch at a time.
        cost: Whether every technique's time is measured beside the pipeline's own.

    Raises:
        InputError: If there is nothing to draw, or a number is out of range.
    """

    title: str
    tasks: Mapping[str, Task]
    techniques: Mapping[str, Entry]
    pipeline: str = "orchard"
    precision: Precision = "float32"
    generation: Mapping[str, Any] = field(default_factory=dict)
    clip: str = "orchard"
    detector: Literal["orchard", "none"] = "orchard"
    backbone: Literal["clip", "none"] = "none"
    grid: Grid = field(default_factory=Grid)
    pictures: Pictures = field(default_factory=Pictures)
    seeds: int = 2
    batch_size: int = 16
    cost: bool = True

    def __post_init__(self) -> None:
        if not self.tasks or not self.techniques:
            raise InputError("A plan has one task and one technique or more. Add what is missing.")
        if not 1 <= self.seeds <= SEEDS or self.batch_size < 1:
            raise InputError(
                f"seeds is {self.seeds} and batch_size {self.batch_size}; accepted are 1 to {SEEDS} seeds, and 1 "
                "prompt a batch or more."
            )
        if self.backbone == "clip" and self.clip == "none":
            raise InputError("backbone is clip, but clip is none. Name a CLIP model, or leave the backbone out.")
        for kind, names in (("task", self.tasks), ("technique", self.techniques)):
            for name in names:
                if not name or any(sign in name for sign in '/\\:*?"<>|') or name.startswith("."):
                    raise InputError(
                        f"The {kind} {name!r} can't be a file's name, which it will be. Use letters, digits and dashes."
                    )

    def fixed(self, technique: str) -> Sequence[float] | None:
        """Give the strengths of a technique that are not searched for; `None` where they are.

        Args:
            technique: Its name.
        """
        own = self.techniques[technique].strengths
        return self.grid.strengths if own is None else own

    def units(self) -> list[tuple[str, str]]:
        """Give every (task, technique) that there is, task after task."""
        return [
            (task, technique)
            for task, about in self.tasks.items()
            for technique in self.techniques
            if about.techniques is None or technique in about.techniques
        ]


def load_plan(path: str | Path) -> Plan:
    """Read a plan, and refuse whatever can be refused before hours of work.

    Args:
        path: A YAML file with the fields of :class:`Plan`.

    Raises:
        InputError: If the file can't be read or is no YAML; a key, technique, setting or prompt set is unknown; or a
            task has no prompts.
    """
    plan = load_settings(Plan, Path(path))
    for name, entry in plan.techniques.items():
        try:
            entry.make()
        except (InputError, UnknownNameError) as error:
            raise InputError(f"{path}, technique {name!r}: {error}") from error
    for name, task in plan.tasks.items():
        try:
            _check(task, plan)
        except InputError as error:
            raise InputError(f"{path}, task {name!r}: {error}") from error
    return plan


def _check(task: Task, plan: Plan) -> None:
    if not task.concepts:
        raise InputError("concepts is empty. Name a prompt set.")
    for name in task.techniques or ():
        if name not in plan.techniques:
            raise InputError(
                f"There is no technique {name!r}.{did_you_mean(name, plan.techniques)} Choose from: "
                f"{', '.join(plan.techniques)}."
            )
    task.sets()
    if task.towards is not None:
        load_prompts(task.towards)
    if not any(task.heldout(1).values()):
        raise InputError("There are no held-out prompts to draw. Add heldout_source, heldout_control, heldout_mixed.")
    if max(len(task.heldout(1)), len(task.tuning(1))) > KINDS:
        raise InputError(f"There are more than {KINDS} cases. Leave some out, or make two tasks of them.")
    if plan.grid.strengths is None and not all(task.tuning(1).get(kind) for kind in CHECK_GROUPS[:2]):
        raise InputError(
            "There are no tuning_source or tuning_control prompts to choose strengths on. Add some, or give "
            "grid.strengths."
        )


def _imported(name: str) -> type[Technique]:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise InputError(
            f"There is no technique {name!r}.{did_you_mean(name, [STEERING])} Write {STEERING!r}, or a class as "
            "module:Class, such as benchmarks.baselines.uce:Uce."
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as `python -m` does; `dsas` does not
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"The technique {name!r} can't be imported: {error}. Run where its module is found, such as the top of a "
            "clone of the repository."
        ) from error
    if not inspect.isclass(found) or not issubclass(found, Technique) or inspect.isabstract(found):
        raise InputError(
            f"{name!r} is no finished Technique. Derive it from dsas_diffusion.sweeps.technique.Technique."
        )
    return found
