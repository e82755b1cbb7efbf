"""The cells of a sweep: what each one is, how it is drawn and judged, and the files that keep it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .demo_figures import BATCH_SIZE, GENERATION, KINDS, first_seed
from .drawing import draw, write_prompts
from .errors import InputError
from .evaluation.images import Pair, pair_images
from .evaluation.pairs import evaluate_pairs
from .evaluation.presence import Detector
from .evaluation.report import to_json
from .files import atomic_write, read_json
from .fitting import fit
from .hooks.steerer import Steerer
from .prompts import Prompt, PromptSet

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

Arm = Literal["gated", "ungated"]
ARMS: Final[tuple[Arm, ...]] = ("gated", "ungated")
#: What a cell keeps of each picture; a figure that doesn't apply is NaN.
Row: TypeAlias = dict[str, Any]
#: Seeds between the fits of two seeds of a sweep, so that they share no picture's.
FIT_SEEDS: Final = 10_000
_JUDGED: Final = (
    "concept_unsteered",
    "concept_steered",
    "objects_kept",
    "invented",
    "ssim",
    "psnr",
    "change_outside",
)


@dataclass(frozen=True)
class Suite:
    """What is drawn for each method, with and without its gate.

    Args:
        pictures: Held-out prompts of each kind.
        strengths: The λ that every method is drawn at, rising.
        highest: The last λ to which the largest of these is doubled while an arm has not reached its end.
        generation: Sampling settings, of the fit too.
    """

    pictures: int = 16
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 4.0)
    highest: float = 32.0
    generation: Mapping[str, Any] = field(default_factory=lambda: GENERATION)

    def grid(self) -> Iterator[float]:
        """Give every λ that may be drawn, rising."""
        yield from self.strengths
        strength = 2 * self.strengths[-1]
        while strength <= self.highest:
            yield strength
            strength *= 2


#: Name → suite, for `dsas sweep --suite`.
SUITES: Final[dict[str, Suite]] = {"family": Suite()}


@dataclass(frozen=True)
class Cell:
    """One point of a sweep: the same held-out prompts drawn once.

    Args:
        method: How is steered, by name.
        arm: With the learned gate, or with the same maps open everywhere.
        strength: λ.
        seed: Which fit and which pictures, from 0.
    """

    method: str
    arm: Arm
    strength: float
    seed: int

    @property
    def file(self) -> str:
        """The file's name in the folder of cells."""
        return f"{self.method}-{self.arm}-{self.strength:g}-{self.seed}.json"


def cells_in(folder: Path) -> dict[Cell, list[Row]]:
    """Read every finished cell of a sweep.

    Args:
        folder: The sweep's folder.

    Returns:
        Cell → a row a picture, source pictures first, then control, then mixed.

    Raises:
        InputError: If a file there is damaged or no cell.
    """
    return dict(_read(path) for path in sorted((folder / "cells").glob("*.json")))


def _read(path: Path) -> tuple[Cell, list[Row]]:
    kept = read_json(path)
    try:
        rows = [{name: math.nan if value is None else value for name, value in row.items()} for row in kept["rows"]]
        return Cell(**kept["cell"]), rows
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} is no cell of a sweep: {error}. Remove it; `dsas sweep` draws a missing cell again."
        ) from error


@dataclass(frozen=True)
class Runner:
    """Draws and judges cells; whatever is finished is read from the folder and never made twice.

    Args:
        pipe: The pipeline, unsteered.
        detector: What says which objects a picture shows.
        prompts: The concept's set.
        gate: The gated arm's gate, by name.
        suite: How much is drawn, and how.
        folder: Where everything is kept.
    """

    pipe: "DiffusionPipeline"
    detector: Detector
    prompts: PromptSet
    gate: str
    suite: Suite
    folder: Path

    def prompts_of(self, kind: str) -> Sequence[Prompt]:
        """The held-out prompts of a kind that are drawn."""
        return self.prompts.heldout[kind][: self.suite.pictures]

    def steerer(self, method: str, seed: int) -> Steerer:
        """Give a method's steerer with its gate: the saved one, fitted first if there is none.

        Args:
            method: Its name.
            seed: The sweep's seed.

        Raises:
            InputError: If nothing can be learned, or the place can't be written.
        """
        place = self.folder / "steerers" / f"{method}-{seed}"
        if not place.is_dir():
            fit(
                self.pipe,
                self.prompts,
                method=method,
                gate=self.gate,
                seed=FIT_SEEDS * seed,
                batch_size=BATCH_SIZE,
                generation=self.suite.generation,
                progress=False,
            ).save_pretrained(place)
        return Steerer.from_pretrained(place)  # the saved one always, so that a resumed sweep steers with the same

    def run(self, cell: Cell, steerer: Steerer) -> list[Row]:
        """Draw a cell, judge it against its unsteered twins, and keep it.

        Args:
            cell: What to draw.
            steerer: The gated steerer of the cell's method and seed.

        Returns:
            A row a picture, as `cells_in` gives them.

        Raises:
            InputError: If the place can't be written.
        """
        twins = self._twins(cell.seed)
        chosen = steerer if cell.arm == "gated" else steerer.ungated()
        with TemporaryDirectory() as place:
            with chosen.attached(self.pipe, cell.strength):
                pairs = [
                    pair for kind in KINDS for pair in self._drawn(kind, cell.seed, Path(place) / kind, twins / kind)
                ]
            judged = evaluate_pairs(pairs, detector=self.detector, concept=self.prompts.concept.text)
        each = judged["paired"]["each"]
        places = [(kind, index) for kind in KINDS for index in range(len(self.prompts_of(kind)))]
        rows = [
            {
                "kind": kind,
                "index": index,
                "seed": self._first(kind, cell.seed) + index,
                **{name: each[name][number] for name in _JUDGED},
            }
            for number, (kind, index) in enumerate(places)
        ]
        path = atomic_write(self.folder / "cells" / cell.file, to_json({"cell": asdict(cell), "rows": rows}))
        return _read(path)[1]

    def _first(self, kind: str, seed: int) -> int:
        return first_seed(seed, KINDS.index(kind))

    def _drawn(self, kind: str, seed: int, place: Path, twins: Path) -> list[Pair]:
        draw(self.pipe, self.prompts_of(kind), self._first(kind, seed), place, self.suite.generation, BATCH_SIZE)
        return pair_images(place, twins / "prompts.jsonl", twins / "unsteered")

    def _twins(self, seed: int) -> Path:
        """Give the folder of a seed's unsteered pictures, drawn first where they are missing.

        Each picture is written by itself and the prompts last: processes that share the folder and start at once write
        the same files, and none ever meets half of one.
        """
        folder = self.folder / "twins" / f"{seed}"
        for kind in KINDS:
            if (folder / kind / "prompts.jsonl").is_file():
                continue
            with TemporaryDirectory() as temporary:
                place = Path(temporary) / kind
                first = self._first(kind, seed)
                draw(self.pipe, self.prompts_of(kind), first, place / "unsteered", self.suite.generation, BATCH_SIZE)
                write_prompts(self.prompts_of(kind), place)
                for path in sorted((place / "unsteered").iterdir()):
                    atomic_write(folder / kind / "unsteered" / path.name, path.read_bytes())
                atomic_write(folder / kind / "prompts.jsonl", (place / "prompts.jsonl").read_bytes())
        return folder
