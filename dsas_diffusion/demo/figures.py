"""The demo's figures: three kinds of held-out pictures judged, gates localised, costs timed, rivals matched."""

import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from PIL import Image

from ..backends.diffusion import generate
from ..drawing import draw
from ..evaluation.bootstrap import paired_bootstrap
from ..evaluation.clip_judge import ClipJudge
from ..evaluation.gate_localisation import GateLocalisation
from ..evaluation.images import pair_images
from ..evaluation.kid import for_sets, kid
from ..evaluation.pairs import evaluate_pairs
from ..evaluation.presence import Detector, present
from ..evaluation.report import PSNR_CEILING
from ..evaluation.timing import in_turn, ratio
from ..hooks.attachment import Attachment
from ..hooks.steerer import Steerer
from ..prompts import Prompt, PromptSet

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

KINDS: Final = ("source", "control", "mixed")
#: What rivals may choose from, on tuning prompts, to match the gate's removal there.
RIVAL_GRID: Final = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
#: By Orchard's pipeline, 20 steps where the pipelines' own defaults are 50 and 28: the demo is to take minutes on two
#: cores. The guidance is the default. The DiT draws without the 255 of 256 blank tokens that stand in for a third text
#: encoder by default, which would take most of the time; it was trained on any number of them.
GENERATIONS: Final[dict[str, dict[str, Any]]] = {
    "unet": {"num_inference_steps": 20, "guidance_scale": 7.5},
    "dit": {"num_inference_steps": 20, "guidance_scale": 7.0, "max_sequence_length": 1},
}
GENERATION: Final = GENERATIONS["unet"]
BATCH_SIZE: Final = 16
TIMED_PAIRS: Final = 9


@dataclass(frozen=True)
class Bench:
    """What every figure is measured with.

    Args:
        pipe: The pipeline, unsteered.
        clip: Orchard's CLIP.
        detector: Orchard's detector.
        prompts: The concept's set.
        heldout: The held-out prompts that are drawn, by kind.
        seed: The demo's seed.
        folder: Where the pictures lie, under `images/<kind>/`.
        generation: Sampling settings.
    """

    pipe: "DiffusionPipeline"
    clip: ClipJudge
    detector: Detector
    prompts: PromptSet
    heldout: Mapping[str, Sequence[Prompt]]
    seed: int
    folder: Path
    generation: Mapping[str, Any] = field(default_factory=lambda: GENERATION)

    @property
    def label(self) -> str:
        """The concept as the detector calls it."""
        return self.prompts.concept.label


def first_seed(seed: int, part: int) -> int:
    """First seed of a group of pictures: groups never share one, nor do they with the fit's."""
    return 1_000_000 + 100_000 * seed + 10_000 * part


def judged(bench: Bench, kind: str, side: str) -> dict[str, Any]:
    """Judge one kind of picture against its unsteered twins."""
    place = bench.folder / "images" / kind
    pairs = pair_images(place / side, place / "prompts.jsonl", place / "unsteered")
    about = bench.prompts.concept
    return evaluate_pairs(pairs, bench.clip, bench.detector, about.text, about.alternatives)


def summary(bench: Bench, figures: Mapping[str, dict[str, Any]], side: str) -> dict[str, Any]:
    """Arrange the figures of the three kinds as the report holds them; rates are shares of 0 to 1."""
    source, control, mixed = (figures[kind] for kind in KINDS)
    return {
        "removal": {
            "unsteered_rate": source["twins"]["concept_rate"],
            "steered_rate": source["images"]["concept_rate"],
            "left": 1 - source["paired"]["removal"],
            "clip_rate_unsteered": source["twins"]["clip_concept_rate"],
            "clip_rate_steered": source["images"]["clip_concept_rate"],
            "clip_unsteered": source["twins"]["clip_concept"],
            "clip_steered": source["images"]["clip_concept"],
            "no_invented_object": source["paired"]["no_invented_object"],
            "kid_to_target": kid_to_target(bench, side),
        },
        "preservation": {
            "objects_kept": control["paired"]["objects_kept"],
            "psnr_median": control["paired"]["psnr_median"],
            "ssim_mean": control["paired"]["ssim_mean"],
            "clip_unsteered": control["twins"]["clip_prompt"],
            "clip_steered": control["images"]["clip_prompt"],
        },
        "mixed": {
            "concept_rate_unsteered": mixed["twins"]["concept_rate"],
            "concept_rate_steered": mixed["images"]["concept_rate"],
            "left": 1 - mixed["paired"]["removal"],
            "other_kept": mixed["paired"]["objects_kept"],
            "change_inside": mixed["paired"]["change_inside"],
            "change_outside": mixed["paired"]["change_outside"],
        },
    }


def blur(figures: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """Give the median sharpness, over the twins', of mixed pictures on the concept and off it and of control ones."""
    mixed, control = figures["mixed"]["paired"], figures["control"]["paired"]
    return {
        "inside_ratio": mixed["sharpness_inside"],
        "outside_ratio": mixed["sharpness_outside"],
        "control_ratio": control["sharpness_outside"],
    }


def kid_to_target(bench: Bench, side: str) -> float:
    """KID of the source pictures to what the pipeline draws, unsteered, for the set's target prompts.

    The features are those of Orchard's CLIP, as `kid.for_sets` gives them.
    """
    targets = bench.folder / "targets"
    if not targets.is_dir():
        prompts = [*bench.prompts.target] * 2
        draw(bench.pipe, prompts, first_seed(bench.seed, 8), targets, bench.generation, BATCH_SIZE)
    sets = []
    for place in (bench.folder / "images" / "source" / side, targets):
        features = bench.clip.image_features([Image.open(path).convert("RGB") for path in sorted(place.glob("*.png"))])
        sets.append(for_sets(features))
    return kid(*sets)


def localisation(bench: Bench, steerer: Steerer) -> tuple[dict[str, float | None], Attachment | None]:
    """Compare gate maps over mixed pictures, drawn with λ = 0, with the detector's heat map of the concept.

    Returns:
        The figures, and the run with its maps; of a gate that is always open nothing.
    """
    if steerer.manifest["gate"]["name"] == "always":
        return {"gate_auroc": None, "gate_iou": None}, None
    prompts = bench.heldout["mixed"]
    texts, first = [prompt.text for prompt in prompts], first_seed(bench.seed, 2)
    seeds = range(first, first + len(texts))
    with steerer.attached(bench.pipe, 0.0, record_gates=True) as run:
        drawn = [
            image
            for images in generate(bench.pipe, texts, seeds, batch_size=BATCH_SIZE, generation=bench.generation)
            for image in images
        ]
    found = GateLocalisation(bench.detector, bench.label)
    found.update(drawn, run)
    return dict(found.compute()), run


def cost(
    pipe: "DiffusionPipeline",
    steerer: Steerer,
    prompts: Sequence[Prompt],
    generation: Mapping[str, Any] = GENERATION,
) -> dict[str, float]:
    """Time a batch with and without steering, in turn: medians, and the median of the pairs' ratios."""
    texts = [prompt.text for prompt in prompts[:8]]

    taken: dict[str, list[float]] = {"unsteered": [], "steered": []}
    for name, counts in in_turn(list(taken), TIMED_PAIRS):
        with steerer.attached(pipe) if name == "steered" else nullcontext():
            began = time.perf_counter()
            for _ in generate(pipe, texts, range(len(texts)), batch_size=len(texts), generation=generation):
                pass
            if counts:
                taken[name].append((time.perf_counter() - began) / len(texts))
    medians = {f"seconds_per_image_{name}": statistics.median(each) for name, each in taken.items()}
    return {**medians, "overhead_ratio": ratio(taken["steered"], taken["unsteered"])[0]}


def rivals(
    bench: Bench, steerer: Steerer, figures: Mapping[str, dict[str, Any]], fitted: Callable[..., Steerer]
) -> dict[str, dict[str, Any]]:
    """Judge vanilla steering and the gate that sees no places on the same prompts, at matched removal.

    Both have the demo's own maps at its own sites; the gate that sees no places asks the picture's mean, as the first
    factor of the demo's does.
    λ is found by bisection on a grid: the smallest that removes at least as much on tuning prompts (source and mixed)
    as the gated steerer does there, or the largest of all where none does (`matched` says).

    Args:
        bench: What to measure with.
        steerer: The demo's own.
        figures: Its figures, by kind.
        fitted: Fits a steerer as the demo does, with another gate and other settings of `fit`.

    Returns:
        Rival → its figures, with `gate_auroc` of its gate and `better_by`: the mean difference, demo's minus rival's,
        with its paired-bootstrap 95 % interval over prompts.
    """
    wanted = removed(bench, steerer, steerer.strength)
    blind = fitted("image_mean", map_from=steerer.manifest["fit"]["map_from"], sites=list(steerer.sites))
    found = {}
    for name, rival in (("always", steerer.ungated()), ("image_mean", blind)):
        low, high = 0, len(RIVAL_GRID)
        while low < high:  # ends past the grid where nothing on it is enough
            middle = (low + high) // 2
            enough = removed(bench, rival, RIVAL_GRID[middle]) >= wanted
            low, high = (low, middle) if enough else (middle + 1, high)
        matched = low < len(RIVAL_GRID)
        rival.strength = RIVAL_GRID[low] if matched else RIVAL_GRID[-1]
        for number, kind in enumerate(KINDS):
            place = bench.folder / "images" / kind / name
            with rival.attached(bench.pipe):
                draw(
                    bench.pipe, bench.heldout[kind], first_seed(bench.seed, number), place, bench.generation, BATCH_SIZE
                )
        theirs = {kind: judged(bench, kind, name) for kind in KINDS}
        found[name] = {
            "strength": rival.strength,
            "matched": matched,
            **summary(bench, theirs, name),
            "localisation": localisation(bench, rival)[0],
            "better_by": better_by(figures, theirs),
        }
        for kind in KINDS:
            shutil.rmtree(bench.folder / "images" / kind / name)
    return found


def better_by(figures: Mapping[str, dict[str, Any]], theirs: Mapping[str, dict[str, Any]]) -> dict[str, list[float]]:
    """Mean difference to a rival and its 95 % interval: [mean, low, high], over prompts where both have a value."""
    compared = {
        "control_psnr": ("control", "psnr"),
        "mixed_other_kept": ("mixed", "objects_kept"),
        "mixed_change_outside": ("mixed", "change_outside"),
    }
    found = {}
    for name, (kind, key) in compared.items():
        sides = [torch.tensor(side[kind]["paired"]["each"][key]).clamp(max=PSNR_CEILING) for side in (figures, theirs)]
        interval = paired_bootstrap(*(side.numpy() for side in sides))
        found[name] = [interval.mean, interval.low, interval.high]
    return found


def removed(bench: Bench, steerer: Steerer, strength: float) -> float:
    """Share of tuning pictures, source and mixed, that don't show the concept at a strength."""
    gone = total = 0
    for part, kind in ((9, "source"), (7, "mixed")):
        texts = [prompt.text for prompt in bench.prompts.tuning[kind]]
        seeds = range(first_seed(bench.seed, part), first_seed(bench.seed, part) + len(texts))
        with steerer.attached(bench.pipe, strength):
            for images in generate(bench.pipe, texts, seeds, batch_size=BATCH_SIZE, generation=bench.generation):
                gone += int((~present(bench.detector(images).probabilities, bench.label)).sum())
                total += len(images)
    return gone / total
