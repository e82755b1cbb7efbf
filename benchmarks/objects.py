"""The demo's settings on all ten objects, held-out prompts: writes docs/objects.md.

python -m benchmarks.objects
"""

import argparse
import os
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from dsas_diffusion import fit, load_prompts, orchard
from dsas_diffusion.demo.demo import TASKS
from dsas_diffusion.demo.figures import BATCH_SIZE, GENERATION, KINDS, Bench, first_seed, judged, localisation, summary
from dsas_diffusion.drawing import draw_twins
from dsas_diffusion.evaluation.clip_judge import ClipJudge
from dsas_diffusion.files import atomic_write

_FIGURES = (
    ("drawn", "removal", "unsteered_rate", ".1%"),
    ("left", "removal", "left", ".1%"),
    ("left, CLIP", "removal", "clip_rate_steered", ".1%"),
    ("no invented", "removal", "no_invented_object", ".1%"),
    ("control kept", "preservation", "objects_kept", ".1%"),
    ("PSNR, dB", "preservation", "psnr_median", ".1f"),
    ("mixed left", "mixed", "left", ".1%"),
    ("other kept", "mixed", "other_kept", ".1%"),
    ("gate AUROC", "localisation", "gate_auroc", ".3f"),
)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="+", default=list(orchard.OBJECTS))
    parser.add_argument("--heldout", type=int, help="held-out prompts of each kind; all where none is given")
    parser.add_argument("--out", default="docs/objects.md")
    options = parser.parse_args()
    pipe, detector = orchard.load_pipeline("unet"), orchard.load_detector()
    clip = ClipJudge(*orchard.load_clip(), name="orchard")
    strength = TASKS["remove"]["unet"].strength
    lines = []
    for concept in options.concepts:
        prompts = load_prompts(f"orchard/{concept}")
        with TemporaryDirectory() as place:
            heldout = {kind: prompts.heldout[kind][: options.heldout] for kind in KINDS}
            bench = Bench(pipe, clip, detector, prompts, heldout, 0, Path(place))
            steerer = fit(
                pipe,
                prompts,
                strength=strength,
                batch_size=BATCH_SIZE,
                generation=GENERATION,
                progress=False,
            )
            for number, kind in enumerate(KINDS):
                folder = bench.folder / "images" / kind
                draw_twins(pipe, steerer, heldout[kind], first_seed(0, number), folder, GENERATION, BATCH_SIZE)
            figures = summary(bench, {kind: judged(bench, kind, "steered") for kind in KINDS}, "steered")
            figures["localisation"], _ = localisation(bench, steerer)
        cells = [format(figures[part][key], spec) for _, part, key, spec in _FIGURES]
        lines.append(f"| {concept} | " + " | ".join(cell.replace("inf", "∞") for cell in cells) + " |")
        print(lines[-1], flush=True)
    heads = ["object", *(name for name, *_ in _FIGURES)]
    page = [
        "# All ten objects",
        "",
        f"Removal with the demo's settings (method caa, gate patch, λ = {strength:g}) on "
        f"{options.heldout or 64} held-out prompts of each kind, "
        f"{GENERATION['num_inference_steps']} steps, guidance {GENERATION['guidance_scale']:g}, seed 0. "
        f"Written by `python -m benchmarks.objects` on {date.today():%Y-%m-%d}, {os.cpu_count()} cores.",
        "",
        "*drawn*: source pictures that show the object unsteered; *left*: of those, the share that still does when "
        "steered; *left, CLIP*: all steered source pictures that CLIP's zero-shot choice takes for it; *no invented*: "
        "steered source pictures with no object that nobody asked for; *PSNR*: control pictures to their twins, "
        "median; *mixed*: pictures of the object beside another; *gate AUROC*: gate maps against the detector's heat "
        "map there.",
        "",
        "| " + " | ".join(heads) + " |",
        "|---|" + "---|" * (len(heads) - 1),
        *lines,
        "",
    ]
    atomic_write(options.out, "\n".join(page))


if __name__ == "__main__":
    main()
