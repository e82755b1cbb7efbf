"""Which λ a gate needs: removal and preservation on tuning prompts, over a grid.

python -m benchmarks.strength --concepts banana apple cup --gates patch image_mean always
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from dsas_diffusion import fit, load_prompts, orchard
from dsas_diffusion.demo.figures import BATCH_SIZE, GENERATIONS, KINDS, Bench, first_seed, judged
from dsas_diffusion.drawing import draw, write_prompts
from dsas_diffusion.evaluation.clip_judge import ClipJudge
from dsas_diffusion.evaluation.report import format_table
from dsas_diffusion.fitting.learning import MapFrom
from dsas_diffusion.fitting.settings import Estimation
from dsas_diffusion.gates.patch import PatchGate
from dsas_diffusion.methods.base import METHODS

COLUMNS = {
    "concept": "",
    "gate": "",
    "sites": "",
    "read": "",
    "λ": ".2f",
    "source left": ".3f",
    "no invented": ".3f",
    "control kept": ".3f",
    "PSNR dB": ".1f",
    "mixed left": ".3f",
    "other kept": ".3f",
    "change outside": ".4f",
    "sharp inside": ".3f",
    "sharp outside": ".3f",
}


def main() -> None:
    """Print one row for each concept, gate, site preset, reading and λ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="+", default=["banana"])
    parser.add_argument("--pipeline", choices=list(GENERATIONS), default="unet")
    parser.add_argument("--towards", help="another prompt set for the map, such as orchard/blur")
    parser.add_argument("--method", choices=list(METHODS), default="caa")
    parser.add_argument("--estimation", choices=get_args(Estimation), default="at_once")
    parser.add_argument("--gates", nargs="+", default=["patch", "image_mean", "always"])
    parser.add_argument("--sites", nargs="+", default=["auto"])
    parser.add_argument("--map-from", choices=get_args(MapFrom), default="auto")
    parser.add_argument("--core", type=float, default=1.0, help="the patch gate's setting of that name")
    parser.add_argument("--read", nargs="+", default=["auto"])
    parser.add_argument("--strengths", nargs="+", type=float, default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    pipe, detector = orchard.load_pipeline(options.pipeline), orchard.load_detector()
    generation = GENERATIONS[options.pipeline]
    clip = ClipJudge(*orchard.load_clip(), name="orchard")
    rows = []
    for concept in options.concepts:
        prompts = load_prompts(f"orchard/{concept}")
        with TemporaryDirectory() as place:
            bench = Bench(pipe, clip, detector, prompts, prompts.tuning, 0, Path(place), generation)
            for kind in options.kinds:
                folder = bench.folder / "images" / kind
                draw(pipe, prompts.tuning[kind], _seed(kind), folder / "unsteered", generation, BATCH_SIZE)
                write_prompts(prompts.tuning[kind], folder)
            for gate, sites, read in ((g, s, r) for g in options.gates for s in options.sites for r in options.read):
                steerer = fit(
                    pipe,
                    prompts,
                    method=options.method,
                    estimation=options.estimation,
                    gate=PatchGate(core=options.core) if gate == "patch" else gate,
                    sites=sites,
                    read=None if read == "own" else read,
                    towards=options.towards,
                    map_from=options.map_from,
                    batch_size=BATCH_SIZE,
                    generation=generation,
                    progress=False,
                )
                for strength in options.strengths:
                    side = f"{len(rows)}"
                    for kind in options.kinds:
                        with steerer.attached(pipe, strength):
                            folder = bench.folder / "images" / kind / side
                            draw(pipe, prompts.tuning[kind], _seed(kind), folder, generation, BATCH_SIZE)
                    found = {kind: judged(bench, kind, side)["paired"] for kind in options.kinds}
                    rows.append(
                        [
                            concept,
                            gate,
                            sites,
                            " ".join(steerer.diagnose().sites[0]["reads"].values()),
                            strength,
                            *_figures(found),
                        ]
                    )
                    print(format_table(rows[-1:], COLUMNS).splitlines()[-1], flush=True)
    print(format_table(rows, COLUMNS))


def _seed(kind: str) -> int:
    return first_seed(0, 4 + KINDS.index(kind))


def _figures(found: dict[str, dict[str, Any]]) -> list[float | None]:
    nothing: dict[str, float] = {}
    source, control, mixed = (found.get(kind, nothing) for kind in KINDS)
    return [
        1 - source.get("removal", float("nan")),
        source.get("no_invented_object"),
        control.get("objects_kept"),
        control.get("psnr_median"),
        1 - mixed.get("removal", float("nan")),
        *(mixed.get(key) for key in ("objects_kept", "change_outside", "sharpness_inside", "sharpness_outside")),
    ]


if __name__ == "__main__":
    main()
