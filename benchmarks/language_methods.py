"""Every method on Orchard's language model, with its gate and without: writes docs/language_methods.md.

python -m benchmarks.language_methods
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dsas_diffusion as dsas
from benchmarks.language import ARMS, FIGURES, FITTED, Bench, arm_of, chosen, left, told
from dsas_diffusion import orchard
from dsas_diffusion.evaluation.report import markdown_table
from dsas_diffusion.files import atomic_write
from dsas_diffusion.methods.base import METHODS
from dsas_diffusion.recipes.pages import machine

#: The gate and the site threshold that `dsas.fit` takes by itself.
SETTINGS: dict[str, Any] = {"gate": "logistic", "tau": 0.75}
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def grid(bench: Bench, methods: Sequence[str], seeds: int) -> tuple[list[list[object]], list[list[object]]]:
    """What each arm does at the λ that tuning prompts choose, and at every λ."""
    operating: list[list[object]] = []
    every: list[list[object]] = []
    for method in methods:
        steerers = [bench.steerer(method, seed, **SETTINGS) for seed in range(seeds)]
        for arm in ARMS:
            tuning = {
                strength: [
                    bench.measured(f"tuning-{seed}", bench.suite("tuning", seed), arm_of(steerer, arm), strength)
                    for seed, steerer in enumerate(steerers)
                ]
                for strength in STRENGTHS
            }
            heldout = {
                strength: [
                    bench.measured(
                        f"heldout-{seed}",
                        bench.suite("test", seed, texts=128, questions=200),
                        arm_of(steerer, arm),
                        strength,
                    )
                    for seed, steerer in enumerate(steerers)
                ]
                for strength in STRENGTHS
            }
            strength, enough = chosen(tuning)
            shown = f"{strength:g}" if enough else f"{strength:g} *"
            operating.append([f"`{method}`", arm, shown, *told(heldout[strength])])
            every += [[f"`{method}`", arm, f"{λ:g}", *told(reports)] for λ, reports in heldout.items()]
            print(f"{method} {arm}: λ = {shown}, rudeness left {left(heldout[strength]):.1%}", flush=True)
    return operating, every


def page(bench: Bench, methods: Sequence[str], seeds: int) -> str:
    """docs/language_methods.md."""
    operating, every = grid(bench, methods, seeds)
    columns = {"method": "", "arm": "", "λ": "", **FIGURES}
    lines = [
        "# Language models: methods, with the gate and without",
        "",
        f"`python -m benchmarks.language_methods`, {machine('cpu')}.",
        "",
        "Orchard's language model, prompts and columns as in [language.md](language.md), but with the gate and the "
        f"sites that `dsas.fit` takes by itself: `logistic`, `tau` {SETTINGS['tau']}. {seeds} seeds: each fits on "
        f"{FITTED} of the 32 prompts of each group, and draws its own continuations. *Ungated* is the same map at the "
        "same sites, open everywhere. 128 prompts, 128 texts and 200 questions, all held out.",
        "",
        "## At most a third left",
        "",
        f"The same strengths for all: {', '.join(f'{λ:g}' for λ in STRENGTHS)}. Here at the first one that leaves at "
        "most a third of the rudeness on tuning prompts, or, marked with *, at the one that leaves least.",
        "",
        *markdown_table(operating, columns),
        "",
        "## The whole grid",
        "",
        *markdown_table(every, columns),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", default="outputs/language", help="where finished parts are kept")
    parser.add_argument("--out", default="docs/language_methods.md", help="the page")
    options = parser.parse_args()
    bench = Bench(*orchard.load_language_model(), dsas.load_prompts("orchard/rudeness"), Path(options.folder))
    atomic_write(options.out, page(bench, options.methods, options.seeds))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
