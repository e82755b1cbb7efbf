"""What layers of Orchard's language model know, what a PCA is worth, and what steering turns: writes docs/layers.md.

python -m benchmarks.layers
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from transformers import PreTrainedModel

import dsas_diffusion as dsas
from dsas_diffusion import orchard
from dsas_diffusion.evaluation.layers import Sides, Told, measured, sides
from dsas_diffusion.evaluation.report import markdown_table
from dsas_diffusion.evaluation.steered_twins import cosines, steered_twins
from dsas_diffusion.evaluation.timing import in_turn
from dsas_diffusion.files import atomic_write
from dsas_diffusion.gates.base import GATES, Gate, Samples
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.recipes.pages import machine

#: Gates compared; `None` components are as many as there are channels: no PCA.
GATES_COMPARED = [
    *(("logistic", components) for components in (1, 2, 5, 10, 32, None)),
    *(("mlp", components) for components in (5, 10, 32)),
]
_COLUMNS = {
    "layer": "",
    "gate": "",
    "components": "",
    "folds: accuracy": ".3f",
    "overlap": ".3f",
    "tuning: AUROC": ".3f",
    "held-out: accuracy": ".3f",
    "AUROC": ".3f",
    "overlap ": ".3f",
}
_TURNED = {
    "layer": "",
    "gate": "",
    "λ": ".1f",
    "source: mean": ".4f",
    "least": ".4f",
    "control: mean": ".4f",
    "least ": ".4f",
}


def made(name: str, components: int | None, channels: int) -> Gate:
    """A gate without what it learns."""
    return GATES[name](components=components or channels)


def compared(fit: Mapping[str, Sides], tuning: Mapping[str, Sides], heldout: Mapping[str, Sides]) -> list[list[object]]:
    """One row for each layer and gate, and one for the mean over layers."""
    rows: list[list[object]] = []
    for name, components in GATES_COMPARED:
        found = []
        for path, recorded in fit.items():
            gate = made(name, components, recorded.source.pooled.shape[1])
            found.append(measured(gate, recorded, {"tuning": tuning[path], "held-out": heldout[path]}))
        for path, figures in [*zip(fit, found, strict=True), ("mean", _mean(found))]:
            folds, unseen = figures["folds"], figures["held-out"]
            cells = [folds.accuracy, folds.overlap, figures["tuning"].auroc, *unseen]
            rows.append([path, f"`{name}`", str(components or "none"), *cells])
    return sorted(rows, key=lambda row: [*fit, "mean"].index(str(row[0])))


def _mean(found: Sequence[Mapping[str, Told]]) -> dict[str, Told]:
    return {name: Told(*np.mean([figures[name] for figures in found], axis=0)) for name in found[0]}


def seconds(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median time of each variant; each round runs all of them, beginning with another one."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for name, counts in in_turn(list(variants), rounds):
        began = time.perf_counter()
        variants[name]()
        if counts:
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in taken.items()}


def fit_times(where: Sequence[Sides], rounds: int) -> list[list[object]]:
    """One row for each gate: milliseconds a site, here and by scikit-learn, and how often as fast as none."""
    channels = where[0].source.pooled.shape[1]
    labels = [(name, components) for name, components in GATES_COMPARED if (components or 0) <= channels]
    variants: dict[str, Callable[[], object]] = {}
    for name, components in labels:
        gate = made(name, components, channels)
        variants[f"{name} {components}"] = lambda gate=gate: [gate.reset(channels).fit(*each) for each in where]
        if name == "logistic":
            steps = [LogisticRegression(max_iter=10_000)]
            steps = steps if components is None else [PCA(components), *steps]
            variants[f"scikit-learn {components}"] = lambda steps=steps: [
                make_pipeline(*steps).fit(
                    torch.cat([each.source.pooled, each.control.pooled]).numpy(),
                    np.repeat([1, 0], [len(each.source.pooled), len(each.control.pooled)]),
                )
                for each in where
            ]
    found = {name: 1000 * each / len(where) for name, each in seconds(variants, rounds).items()}
    whole = {kind: found[f"{kind} None"] for kind in ("logistic", "scikit-learn")}
    rows: list[list[object]] = []
    for name, components in labels:
        ours = found[f"{name} {components}"]
        theirs = found.get(f"scikit-learn {components}") if name == "logistic" else None
        ratio = None if theirs is None else whole["scikit-learn"] / theirs
        rows.append([f"`{name}`", str(components or "none"), ours, whole["logistic"] / ours, theirs, ratio])
    return rows


#: Of `fit_times`.
TIMES = {"gate": "", "components": "", "ms": ".2f", "× none": ".2f", "scikit-learn ms": ".2f", "× none ": ".2f"}


def noise(channels: int, samples: int = 32) -> Sides:
    """Normal noise as wide as a large model's activations, its first hundred channels shifted for source."""
    generator = torch.Generator().manual_seed(0)
    source, control = torch.randn(2, samples, channels, generator=generator)
    source[:, :100] += 0.5
    return Sides(*(Samples(X, torch.arange(samples), X) for X in (source, control)))


def turned(model: PreTrainedModel, tokenizer: object, prompts: dsas.PromptSet, strength: float) -> list[list[object]]:
    """One row for each layer, with the gate and without: the cosine of steered to original activations."""
    steerer = dsas.fit(model, prompts, tokenizer=tokenizer, progress=False)
    rows = []
    for gate, each in (("logistic", steerer), ("always", steerer.ungated())):
        found: dict[tuple[str, str], list[float]] = {}
        for group in ("source", "control"):
            texts = prompts.texts(f"heldout_{group}")
            for twins in steered_twins(model, each, texts, tokenizer=tokenizer, strength=strength):
                for path, pair in twins.items():
                    found.setdefault((path, group), []).append(cosines(pair).mean().item())
        for path in dict.fromkeys(path for path, _ in found):
            cells = [reduced(found[path, group]) for group in ("source", "control") for reduced in (np.mean, np.min)]
            rows.append([path, f"`{gate}`", strength, *cells])
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", default="orchard/rudeness")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--strengths", nargs="+", type=float, default=[1.0, 2.0])
    parser.add_argument("--out", default="docs/layers.md")
    options = parser.parse_args()
    model, tokenizer = orchard.load_language_model()
    prompts = dsas.load_prompts(options.prompts)
    sites = find_sites(model, "blocks")
    fit, tuning, heldout = (
        sides(model, prompts, sites, split, tokenizer=tokenizer) for split in ("fit", "tuning", "heldout")
    )
    samples = len(prompts.source)
    page = [
        "# Inside the layers of Orchard's language model",
        "",
        f"`python -m benchmarks.layers`, {machine('cpu')}.",
        "",
        f"Residual blocks of {sites[0].channels} channels; `{options.prompts}`, {samples} source and "
        f"{len(prompts.control)} control prompts to learn from, averaged over their tokens. *Folds*: cross-validated "
        f"over these prompts, as a fit does. *Held-out*: learned from all of them, measured on "
        f"{len(prompts.heldout['source'])} and {len(prompts.heldout['control'])} others. *Overlap*: the least sum of "
        "both kinds of mistake that any threshold on the gate's score leaves, 0 where source and control are apart and "
        "1 where they are spread alike; how the paper defines it is not known. *None*: all channels, no PCA.",
        "",
        *markdown_table(compared(fit, tuning, heldout), _COLUMNS),
        "",
        "## What a fit costs",
        "",
        f"Milliseconds to fit one site's gate: the median of {options.rounds} rounds, each of all variants in turn. "
        "*× none*: how many times as fast as without a PCA, in the same implementation; the paper says 40 to 57, and "
        "not at which size or by which solver.",
        "",
        f"At the {sites[0].channels} channels of Orchard's blocks:",
        "",
        *markdown_table(fit_times(list(fit.values()), options.rounds), TIMES),
        "",
        "At 1536 channels, those of Qwen2.5-1.5B, on noise (32 samples a side, of which 100 channels tell):",
        "",
        *markdown_table(fit_times([noise(1536)], options.rounds), TIMES),
        "",
        "## What steering turns",
        "",
        "Cosine of steered to original activations of the same text, averaged over its tokens; mean and least over "
        "held-out prompts. CAA at all blocks, with the paper's gate and open everywhere.",
        "",
        *markdown_table([row for λ in options.strengths for row in turned(model, tokenizer, prompts, λ)], _TURNED),
        "",
    ]
    atomic_write(options.out, "\n".join(page))


if __name__ == "__main__":
    main()
