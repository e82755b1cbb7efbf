"""`dsas demo`: fit on a bundled concept, draw held-out prompts with and without steering, judge, report."""

import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from PIL import Image
from tqdm import tqdm

from . import orchard
from .backends.diffusion import generate
from .errors import InputError
from .evaluation.clip import ClipJudge
from .evaluation.images import pair_images
from .evaluation.pairs import evaluate_pairs
from .evaluation.presence import Detector
from .evaluation.report import contact_sheet, format_table, to_json
from .files import atomic_folder
from .fitting import fit
from .hooks.attachment import checked_strength
from .hooks.steerer import Steerer
from .prompts import Prompt, PromptSet, load_prompts

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

KINDS: Final = ("source", "control", "mixed")
#: λ for each gate, chosen on tuning prompts by `python -m benchmarks.strength`.
STRENGTHS: Final = {"calibrated": 2.0, "logistic": 2.0, "always": 2.0}
#: What `always` may choose from, on tuning prompts, to match the gate's removal there.
RIVAL_GRID: Final = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
#: 20 steps where the pipeline's own default is 50: the demo is to take minutes on two cores. The guidance is the
#: default.
GENERATION: Final[dict[str, Any]] = {"num_inference_steps": 20, "guidance_scale": 7.5}
BATCH_SIZE: Final = 16
TIMED_PAIRS: Final = 9
_WRITTEN: Final = ("report.json", "grid.png", "images", "steerer")


@dataclass(frozen=True)
class Judges:
    """Who looks at the pictures."""

    clip: ClipJudge
    detector: Detector


def demo(
    concept: str = "banana",
    gate: Literal["calibrated", "logistic", "always"] = "calibrated",
    strength: float | None = None,
    seed: int = 0,
    out: str = "outputs/demo",
    quick: bool = False,
) -> None:
    """Suppress one of Orchard's objects, and show with pictures and figures what that did and what it left alone.

    Fits on the bundled prompts, draws held-out ones of three kinds with and without steering from the same seeds
    (source: the concept alone; control: everything else; mixed: the concept beside something else), judges both with
    Orchard's detector and CLIP, and sets vanilla steering beside it at the strength that removes as much on tuning
    prompts.

    Args:
        concept: One of Orchard's objects.
        gate: What decides where to steer: calibrated, logistic (the paper's) or always (vanilla steering).
        strength: The strength λ; by default what tuning prompts chose for the gate.
        seed: First seed of the fit and of the pictures.
        out: Folder for report.json, grid.png, the pictures and the steerer; an earlier demo there is replaced.
        quick: 16 held-out prompts of each kind instead of 64, and no vanilla steering beside it.

    Raises:
        InputError: If the concept is unknown, the strength not finite, or the folder can't be written.
    """
    if concept not in orchard.OBJECTS:
        raise InputError(f"concept is {concept!r}, but the demo knows Orchard's objects: {', '.join(orchard.OBJECTS)}.")
    chosen = checked_strength(STRENGTHS[gate] if strength is None else strength)[0]
    prompts = load_prompts(f"orchard/{concept}")
    with atomic_folder(out, overwrite=_WRITTEN) as folder:
        pipe = orchard.load_pipeline("unet")
        judges = Judges(ClipJudge(*orchard.load_clip(), name="orchard"), orchard.load_detector())
        steerer = fit(
            pipe, prompts, gate=gate, strength=chosen, seed=seed, batch_size=BATCH_SIZE, generation=GENERATION
        )
        steerer.save_pretrained(folder / "steerer")
        heldout = {kind: prompts.heldout[kind][: 16 if quick else None] for kind in KINDS}
        for number, kind in enumerate(KINDS):
            first = first_seed(seed, number)
            draw_twins(pipe, steerer, heldout[kind], first, folder / "images" / kind)
        figures = {kind: judged(folder / "images" / kind, "steered", judges, prompts) for kind in KINDS}
        report = {
            "concept": concept,
            "task": "remove",
            "method": steerer.manifest["method"]["name"],
            "gate": gate,
            "strength": chosen,
            "seed": seed,
            **GENERATION,
            "fit": {
                "seconds": steerer.manifest["fit"]["seconds"],
                "sites": steerer.diagnose(),
                "samples": steerer.manifest["fit"]["samples"],
            },
            **summary(figures),
            "cost": cost(pipe, steerer, heldout["control"]),
            "rivals": {}
            if quick or gate == "always"
            else {"always": rival(pipe, steerer, prompts, judges, seed, folder)},
        }
        (folder / "report.json").write_text(to_json(report), encoding="utf-8")
        grid(folder, heldout).save(folder / "grid.png")
    print(table(report))
    print(f"\nLook at {Path(out) / 'grid.png'}; every figure is in {Path(out) / 'report.json'}.")


def first_seed(seed: int, part: int) -> int:
    """First seed of a group of pictures: groups never share one, nor do they with the fit's."""
    return 1_000_000 + 100_000 * seed + 10_000 * part


def draw_twins(
    pipe: "StableDiffusionPipeline", steerer: Steerer, prompts: Sequence[Prompt], first: int, folder: Path
) -> None:
    """Draw prompts from the same seeds into `unsteered/` and `steered/`, and write `prompts.jsonl` beside them."""
    draw(pipe, prompts, first, folder / "unsteered")
    with steerer.attached(pipe):
        draw(pipe, prompts, first, folder / "steered")
    write_prompts(prompts, folder)


def write_prompts(prompts: Sequence[Prompt], folder: Path) -> None:
    """Write `prompts.jsonl`: a row a picture, with the picture's file name."""
    rows = (
        {"file": f"{index:03d}.png", "prompt": prompt.text, "labels": prompt.labels, "named": prompt.named}
        for index, prompt in enumerate(prompts)
    )
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "prompts.jsonl").write_text(text, encoding="utf-8")


def draw(pipe: "StableDiffusionPipeline", prompts: Sequence[Prompt], first: int, folder: Path) -> None:
    """Draw one picture a prompt, the i-th from seed `first + i`, to `000.png`, `001.png` and so on."""
    folder.mkdir(parents=True)
    seeds = range(first, first + len(prompts))
    texts = [prompt.text for prompt in prompts]
    index = 0
    with tqdm(total=len(texts), desc="/".join(folder.parts[-2:]), unit="picture", disable=None, leave=False) as bar:
        for images in generate(pipe, texts, seeds, batch_size=BATCH_SIZE, generation=GENERATION):
            for image in images:
                image.save(folder / f"{index:03d}.png")
                index += 1
            bar.update(len(images))


def judged(folder: Path, side: str, judges: Judges, prompts: PromptSet) -> dict[str, Any]:
    """Judge one kind of picture against its unsteered twins."""
    pairs = pair_images(folder / side, folder / "prompts.jsonl", folder / "unsteered")
    about = prompts.concept
    return evaluate_pairs(pairs, judges.clip, judges.detector, about.text, about.alternatives)


def summary(figures: dict[str, dict[str, Any]]) -> dict[str, Any]:
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
        },
        "preservation": {
            "objects_kept": control["paired"]["objects_kept"],
            "psnr_median": control["paired"]["psnr_median"],
            "clip_unsteered": control["twins"]["clip_prompt"],
            "clip_steered": control["images"]["clip_prompt"],
        },
        "mixed": {
            "concept_rate_unsteered": mixed["twins"]["concept_rate"],
            "concept_rate_steered": mixed["images"]["concept_rate"],
            "left": 1 - mixed["paired"]["removal"],
            "other_kept": mixed["paired"]["objects_kept"],
        },
    }


def cost(pipe: "StableDiffusionPipeline", steerer: Steerer, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Time a batch with and without steering, in turn: medians, and the median of the pairs' ratios."""
    texts = [prompt.text for prompt in prompts[:8]]

    def seconds() -> float:
        began = time.perf_counter()
        for _ in generate(pipe, texts, range(len(texts)), batch_size=len(texts), generation=GENERATION):
            pass
        return (time.perf_counter() - began) / len(texts)

    seconds()
    plain, steered = [], []
    for number in range(TIMED_PAIRS):
        for side in (plain, steered) if number % 2 else (steered, plain):
            if side is plain:
                side.append(seconds())
            else:
                with steerer.attached(pipe):
                    side.append(seconds())
    return {
        "seconds_per_image_unsteered": statistics.median(plain),
        "seconds_per_image_steered": statistics.median(steered),
        "overhead_ratio": statistics.median(s / p for s, p in zip(steered, plain, strict=True)),
    }


def rival(
    pipe: "StableDiffusionPipeline", steerer: Steerer, prompts: PromptSet, judges: Judges, seed: int, folder: Path
) -> dict[str, Any]:
    """Judge vanilla steering on the same held-out prompts, at matched removal.

    λ is the smallest of a grid that removes at least as much on the tuning prompts as the gated steerer does there.
    """
    vanilla = steerer.ungated()
    tuning, first = prompts.tuning["source"], first_seed(seed, 9)
    wanted = removed(pipe, steerer, steerer.strength, tuning, first, judges, prompts)
    low, high = 0, len(RIVAL_GRID) - 1
    while low < high:
        middle = (low + high) // 2
        enough = removed(pipe, vanilla, RIVAL_GRID[middle], tuning, first, judges, prompts) >= wanted
        low, high = (low, middle) if enough else (middle + 1, high)
    vanilla.strength = RIVAL_GRID[low]
    for number, kind in enumerate(KINDS):
        place = folder / "images" / kind
        with vanilla.attached(pipe):
            texts = prompts.heldout[kind]
            draw(pipe, texts, first_seed(seed, number), place / "always")
    figures = {kind: judged(folder / "images" / kind, "always", judges, prompts) for kind in KINDS}
    for kind in KINDS:
        shutil.rmtree(folder / "images" / kind / "always")
    return {"strength": vanilla.strength, **summary(figures)}


def removed(
    pipe: "StableDiffusionPipeline",
    steerer: Steerer,
    strength: float,
    tuning: Sequence[Prompt],
    first: int,
    judges: Judges,
    prompts: PromptSet,
) -> float:
    """Share of tuning pictures without the concept, at a strength."""
    gone = 0
    with steerer.attached(pipe, strength):
        texts, seeds = [p.text for p in tuning], range(first, first + len(tuning))
        for images in generate(pipe, texts, seeds, batch_size=BATCH_SIZE, generation=GENERATION):
            gone += int((judges.detector(images).probabilities[prompts.concept.label] <= 0.5).sum())
    return gone / len(tuning)


def grid(folder: Path, heldout: Mapping[str, Sequence[Prompt]], each: int = 8) -> Image.Image:
    """Twins side by side with their prompts: some of each kind."""
    rows = []
    for kind in KINDS:
        for index, prompt in enumerate(heldout[kind][:each]):
            sides = [
                Image.open(folder / "images" / kind / side / f"{index:03d}.png") for side in ("unsteered", "steered")
            ]
            rows.append((f"{kind}: {prompt.text}", sides))
    return contact_sheet(rows, ("unsteered", "steered"), across=len(KINDS))


def table(report: dict[str, Any]) -> str:
    """The report's main figures for the terminal, vanilla steering beside the gate's."""
    columns = {"": "", f"{report['gate']} λ={report['strength']:g}": ".3g"}
    sides = [report]
    for name, figures in report["rivals"].items():
        columns[f"{name} λ={figures['strength']:g}"] = ".3g"
        sides.append(figures)
    lines = (
        (f"{report['concept']} drawn, unsteered (source)", "removal", "unsteered_rate"),
        ("  of those, still drawn when steered", "removal", "left"),
        ("  the same by CLIP, unsteered", "removal", "clip_rate_unsteered"),
        ("  the same by CLIP, steered", "removal", "clip_rate_steered"),
        ("  pictures with no invented object", "removal", "no_invented_object"),
        ("control: objects kept", "preservation", "objects_kept"),
        ("control: median PSNR to the twin, dB", "preservation", "psnr_median"),
        ("control: CLIP score, unsteered", "preservation", "clip_unsteered"),
        ("control: CLIP score, steered", "preservation", "clip_steered"),
        (f"mixed: {report['concept']} still drawn", "mixed", "left"),
        ("mixed: other object kept", "mixed", "other_kept"),
    )
    rows: list[list[object]] = [[label, *(side[part][key] for side in sides)] for label, part, key in lines]
    overhead = report["cost"]["overhead_ratio"]
    return format_table(rows, columns) + f"\ntime with steering over without: {overhead:.3f}"
