"""Which λ each gate needs: removal and preservation on tuning prompts, over a grid.

python -m benchmarks.strength --concepts banana apple cup --gates calibrated logistic always
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from dsas_diffusion import fit, load_prompts, orchard
from dsas_diffusion.demo import BATCH_SIZE, GENERATION, KINDS, Judges, draw, first_seed, judged, write_prompts
from dsas_diffusion.evaluation.clip import ClipJudge
from dsas_diffusion.evaluation.report import format_table


def main() -> None:
    """Print one row for each concept, gate, site preset and λ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concepts", nargs="+", default=["banana"])
    parser.add_argument("--gates", nargs="+", default=["calibrated", "logistic", "always"])
    parser.add_argument("--sites", nargs="+", default=["auto"])
    parser.add_argument("--strengths", nargs="+", type=float, default=[1, 2, 3, 4, 6, 8])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    pipe = orchard.load_pipeline("unet")
    judges = Judges(ClipJudge(*orchard.load_clip(), name="orchard"), orchard.load_detector())
    columns = {"concept": "", "gate": "", "sites": "", "λ": ".2f", "source left": ".3f", "no invented": ".3f"}
    columns |= {"control kept": ".3f", "PSNR dB": ".1f", "mixed left": ".3f", "other kept": ".3f"}
    rows = []
    for concept in options.concepts:
        prompts = load_prompts(f"orchard/{concept}")
        with TemporaryDirectory() as place:
            folders = {kind: Path(place) / kind for kind in options.kinds}
            for kind, folder in folders.items():
                seed = first_seed(0, 5 + KINDS.index(kind))
                draw(pipe, prompts.tuning[kind], seed, folder / "unsteered")
                write_prompts(prompts.tuning[kind], folder)
            for gate in options.gates:
                for sites in options.sites:
                    steerer = fit(
                        pipe,
                        prompts,
                        gate=gate,
                        sites=sites,
                        batch_size=BATCH_SIZE,
                        generation=GENERATION,
                        progress=False,
                    )
                    for strength in options.strengths:
                        found = {}
                        for kind, folder in folders.items():
                            side = f"{gate} {sites} {strength}".replace("*", "_")
                            with steerer.attached(pipe, strength):
                                draw(pipe, prompts.tuning[kind], first_seed(0, 5 + KINDS.index(kind)), folder / side)
                            found[kind] = judged(folder, side, judges, prompts)["paired"]
                        nothing: dict[str, float] = {}
                        source, control, mixed = (found.get(kind, nothing) for kind in KINDS)
                        rows.append(
                            [
                                concept, gate, sites, strength,
                                1 - source.get("removal", float("nan")), source.get("no_invented_object"),
                                control.get("objects_kept"), control.get("psnr_median"),
                                1 - mixed.get("removal", float("nan")), mixed.get("objects_kept"),
                            ]
                        )  # fmt: skip
                        print(format_table(rows[-1:], columns).splitlines()[-1], flush=True)
    print(format_table(rows, columns))


if __name__ == "__main__":
    main()
