"""`make bench`: what steering costs on Orchard's U-Net, in paired timings."""

import platform

import torch

from dsas_diffusion import fit, load_prompts, orchard
from dsas_diffusion.demo_figures import BATCH_SIZE, GENERATION, cost
from dsas_diffusion.evaluation.report import format_table


def main() -> None:
    """Fit one steerer a gate and time pictures with it and without, in turn."""
    pipe, prompts = orchard.load_pipeline("unet"), load_prompts("orchard/banana")
    rows = []
    for gate in ("always", "logistic", "calibrated", "image_mean", "patch"):
        steerer = fit(pipe, prompts, gate=gate, batch_size=BATCH_SIZE, generation=GENERATION)
        times = cost(pipe, steerer, prompts.tuning["control"])
        rows.append([gate, len(steerer.sites), steerer.manifest["fit"]["seconds"], *times.values()])
    columns = {
        "gate": "",
        "sites": "d",
        "fit s": ".1f",
        "s/image plain": ".4f",
        "s/image steered": ".4f",
        "ratio": ".3f",
    }
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {GENERATION}")
    print(format_table(rows, columns))


if __name__ == "__main__":
    main()
