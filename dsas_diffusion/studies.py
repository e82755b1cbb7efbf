"""Studies of the sets that gates learn from: control sets, C = T, and a gate tested on another set than its own."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from .claims import claim
from .evaluation.bootstrap import bootstrap_interval, paired_bootstrap
from .evaluation.layers import sides
from .evaluation.report import markdown_table, to_json
from .evaluation.unchanged import unchanged
from .files import atomic_write, read_json
from .hooks.steerer import Steerer
from .prompts import Concept, Prompt, PromptSet
from .recipe_arena import Arena, chosen_strength, fit_recipe, load_arena, perplexities, toxics
from .recipe_files import PROTOCOL, STUDIES, load_protocol, load_recipes, load_studies
from .recipe_material import draw_set
from .recipe_runs import MACHINE, machine
from .recipes import Place, Protocol, Recipe, Studies
from .study_sets import StudySet, load_set, random_texts

MANIFEST: Final = "studies.json"
#: Control set → what it is.
CONTROLS: Final = {
    "curated": "the set's own control prompts (C ≠ T)",
    "random": "random texts (C ≠ T)",
    "target": "the target prompts (C = T)",
}
_COLUMNS: Final = ("gate: accuracy", "AUROC", "toxic %, unsteered", "steered", "control unchanged %")


@dataclass(frozen=True)
class Study:
    """Both studies on one model; whatever is finished is read from the folder and never made twice.

    Args:
        arena: The model.
        protocol: The λ that are tried, and the budget.
        recipe: What is fitted.
        place: Where it steers this model.
        studies: How much.
        sets: Name → set, for the cross-set study; control sets are compared on the first one.
        folder: Where everything is kept.
    """

    arena: Arena
    protocol: Protocol
    recipe: Recipe
    place: Place
    studies: Studies
    sets: Mapping[str, StudySet]
    folder: Path

    @cached_property
    def random(self) -> tuple[list[str], list[str]]:
        """Random texts: those of all fits, and held-out ones."""
        own = next(iter(self.sets.values()))
        count = self.studies.prompts_a_set * len(self.studies.seeds)
        return random_texts(self.arena.data, self.arena.tokenizer, count, len(own.heldout["control"]))

    def run(self, progress: bool = True) -> None:
        """Run what is missing.

        Args:
            progress: Show a bar.

        Raises:
            InputError: If the folder holds other work, or something can't be learned or measured.
        """
        settings = {
            **{key: value for key, value in asdict(self.studies).items() if key != "sets"},
            "strengths": list(self.recipe.strengths or self.protocol.strengths),
            "budget": self.protocol.budget,
            "recipe": self.recipe.digest,
            "sets": {name: asdict(each) for name, each in self.sets.items()},
            **self.arena.settings,
        }
        claim(self.folder, settings, MANIFEST, "run of studies")
        due = [
            (study, variant, seed)
            for seed in self.studies.seeds
            for study, variants in (("control", CONTROLS), ("cross", self.sets))
            for variant in variants
            if not self._file(study, variant, seed).is_file()
        ]
        with tqdm(total=len(due), desc="studies", unit="fit", disable=not progress) as bar:
            for study, variant, seed in due:
                bar.set_postfix_str(f"{study} {variant}, seed {seed}")
                made = self._control(variant, seed) if study == "control" else self._cross(variant, seed)
                atomic_write(self._file(study, variant, seed), to_json(made))
                bar.update()

    def cells(self, study: str, variant: str) -> list[dict[str, Any]]:
        """Read the finished cells of a variant, one a seed.

        Args:
            study: `"control"` or `"cross"`.
            variant: A key of `CONTROLS`, or a set's name.
        """
        paths = [self._file(study, variant, seed) for seed in self.studies.seeds]
        return [read_json(path) for path in paths if path.is_file()]

    def _file(self, study: str, variant: str, seed: int) -> Path:
        return self.folder / "cells" / f"{study}-{variant}-{seed}.json"

    def _drawn(self, chosen: StudySet, seed: int) -> PromptSet:
        return draw_set(f"{chosen.name}-{seed}", chosen.concept, chosen.pool, self.studies.prompts_a_set, seed)

    def _control(self, variant: str, seed: int) -> dict[str, Any]:
        own = next(iter(self.sets.values()))
        prompts = self._drawn(own, seed)
        if variant == "target":
            prompts = replace(prompts, control=prompts.target)
        elif variant == "random":
            count, first = self.studies.prompts_a_set, list(self.studies.seeds).index(seed)
            texts = self.random[0][first * count :][:count]
            prompts = replace(prompts, control=tuple(map(Prompt, texts)))
        steerer, about = self._fitted(prompts, own, seed)
        strength = about["strength"]
        return {
            **about,
            "on": {
                "curated": self._tested(steerer, strength, own.heldout, seed, "curated"),
                "random": self._tested(
                    steerer, strength, {"source": own.heldout["source"], "control": self.random[1]}, seed, "random"
                ),
            },
            "texts": self._texts(steerer, strength),
        }

    def _cross(self, variant: str, seed: int) -> dict[str, Any]:
        own = self.sets[variant]
        steerer, about = self._fitted(self._drawn(own, seed), own, seed)
        return {
            **about,
            "on": {
                name: self._tested(steerer, about["strength"], other.heldout, seed, f"set-{name}")
                for name, other in self.sets.items()
            },
        }

    def _fitted(self, prompts: PromptSet, own: StudySet, seed: int) -> tuple[Steerer, dict[str, Any]]:
        """Fit, and choose λ on the set's tuning prompts; give what a cell tells of it."""
        steerer = fit_recipe(self.arena, self.recipe, self.place, prompts, seed)
        arena = replace(self.arena, material=replace(self.arena.material, tuning=own.tuning))
        tried = [
            arena.tried(steerer, strength, seed, self.folder / f"tuning-{own.name}-{seed}")
            for strength in self.recipe.strengths or self.protocol.strengths
        ]
        strength, within = chosen_strength(tried, self.protocol.budget)
        return steerer, {
            "strength": strength,
            "within_budget": within,
            "tried": [each._asdict() for each in tried],
            "sites": {path: steered.measured["accuracy"] for path, steered in steerer.sites.items()},
        }

    def _tested(
        self, steerer: Steerer, strength: float, prompts: Mapping[str, Sequence[str]], seed: int, place: str
    ) -> dict[str, list[float]]:
        """Test gates and steering on held-out prompts: one figure a prompt."""
        suite = self.arena.continuing(prompts, seed)
        each = self.arena.evaluated(suite, steerer, strength, self.folder / f"heldout-{place}-{seed}")
        plain, steered = (each[arm]["continuations"] for arm in ("unsteered", "steered"))
        twins = ([row["text"] for row in rows["control"]] for rows in (steered, plain))
        return {
            **gates_on(self.arena, steerer, self.place, prompts),
            "unsteered": toxics(plain["source"]),
            "steered": toxics(steered["source"]),
            "unchanged": unchanged(*twins).astype(float).tolist(),
        }

    def _texts(self, steerer: Steerer, strength: float) -> dict[str, list[float]]:
        suite = replace(self.arena.reading(), questions=(), tasks=())
        each = self.arena.evaluated(suite, steerer, strength, self.folder / "texts")
        return {arm: perplexities(told["texts"]) for arm, told in each.items()}


def gates_on(
    arena: Arena, steerer: Steerer, place: Place, prompts: Mapping[str, Sequence[str]]
) -> dict[str, list[float]]:
    """Ask the gates of a steerer for prompts of which it is known whether they show the concept.

    AUROC = mean over source prompts of the share of control prompts that score less, ties counting half; so it has one
    value for each source prompt, as accuracy has one for each prompt.

    Args:
        arena: The model, unsteered.
        steerer: Whose gates, each read at the site that it reads.
        place: Which tokens are read.
        prompts: `"source"` and `"control"` → texts.

    Returns:
        `"right"`: (source and control prompts,) the share of sites on the right side of 1/2; `"above"`: (source
        prompts,) the share of control prompts that score less, mean over sites.
    """
    groups = {side: tuple(Prompt(text) for text in texts) for side, texts in prompts.items()}
    asked = PromptSet(steerer.concept, groups["source"], (), groups["control"], Concept(steerer.concept, ""))
    reads = {path: next(iter(steered.reads.values()), steered.site) for path, steered in steerer.sites.items()}
    seen = sides(
        arena.model,
        asked,
        list(dict.fromkeys(reads.values())),
        tokenizer=arena.tokenizer,
        tokens=place.tokens,
        batch_size=arena.data.batch_size,
    )
    right, above = [], []
    for path, site in reads.items():
        gate = steerer.sites[path].gate
        with torch.no_grad():
            shown, other = (gate(samples.pooled[:, None])[:, 0].double().numpy() for samples in seen[site.path])
        right.append(np.concatenate([shown > 0.5, other <= 0.5]))
        above.append(((shown[:, None] > other).mean(axis=1) + (shown[:, None] >= other).mean(axis=1)) / 2)
    return {"right": np.mean(right, axis=0).tolist(), "above": np.mean(above, axis=0).tolist()}


def run_studies(
    folder: str | Path,
    models: Sequence[str],
    out: str | Path,
    page: str | Path | None = None,
    device: str | None = None,
    progress: bool = True,
) -> str:
    """Run both studies on models, and write `report.md` and `report.json`.

    Args:
        folder: Where `studies.yaml`, `protocol.yaml` and the recipe are.
        models: Names of the protocol's models.
        out: Where everything is kept.
        page: Another file for `report.md`; `report.json` then stands beside it, under its name.
        device: Where to compute; `None` for the GPU if there is one.
        progress: Show a bar.

    Returns:
        The page.

    Raises:
        InputError: If anything handed in can't be used.
    """
    protocol, studies = load_protocol(Path(folder) / PROTOCOL), load_studies(Path(folder) / STUDIES)
    recipe = load_recipes(folder, [studies.recipe])[studies.recipe]
    for model in models:
        protocol.model(model)
        recipe.place(model)
        studies.sets_of(model)
    threads = os.environ.get("OMP_NUM_THREADS")
    words = [
        *([f"OMP_NUM_THREADS={threads}"] if threads else []),
        "python examples/paper/study.py --model",
        *models,
        *([] if page is None else ["--page", str(page)]),
    ]
    lines = ["# Control sets, and gates on another set", "", f"Written by `{' '.join(words)}`. {_ABOUT}"]
    kept: dict[str, Any] = {"command": " ".join(words), "models": {}}
    for model in dict.fromkeys(models):
        arena = load_arena(protocol, model, device)
        sets = {
            name: load_set(name, source, arena.data, studies.heldout, studies.tuning)
            for name, source in studies.sets_of(model).items()
        }
        study = Study(arena, protocol, recipe, recipe.place(model), studies, sets, Path(out) / model)
        study.run(progress)
        atomic_write(study.folder / MACHINE, to_json({"machine": machine(arena.model.device.type)}))
        figures = {"control": _by_control(study), "cross": _by_set(study)}
        kept["models"][model] = {"machine": read_json(study.folder / MACHINE)["machine"], **figures}
        lines += ["", *_section(study, protocol.model(model).title, kept["models"][model])]
    told = "\n".join([*lines, ""])
    for path in [Path(out) / "report.md", *([] if page is None else [Path(page)])]:
        atomic_write(path, told)
        atomic_write(path.with_suffix(".json"), to_json(kept))
    return told


_ABOUT: Final = (
    "Figures are means over seeds, with the bootstrap's 95 % interval over held-out prompts. *Gate*: mean over the "
    "steered sites; accuracy is the share of source and control prompts on the right side of 1/2, AUROC the share of "
    "pairs in the right order (its interval is over source prompts). *Toxic*: continuations of source prompts that the "
    "judge counts. *Control unchanged*: continuations of control prompts that are the unsteered twin's, word for word. "
    "λ is the mean of the seeds'."
)


def _figures(cells: Sequence[Mapping[str, Any]], on: str) -> dict[str, Any]:
    """Give the intervals of one variant on one set of held-out prompts."""
    values = {
        name: np.mean([cell["on"][on][name] for cell in cells], axis=0)
        for name in ("right", "above", "unsteered", "steered", "unchanged")
    }
    return {
        **{name: asdict(bootstrap_interval(found)) for name, found in values.items()},
        "removal": asdict(paired_bootstrap(values["steered"], values["unsteered"])),
    }


def _by_control(study: Study) -> dict[str, Any]:
    found = {}
    for variant in CONTROLS:
        cells = study.cells("control", variant)
        ratio = [np.mean(cell["texts"]["steered"]) / np.mean(cell["texts"]["unsteered"]) - 1 for cell in cells]
        found[variant] = {
            "strengths": [cell["strength"] for cell in cells],
            "within_budget": [cell["within_budget"] for cell in cells],
            "sites": [len(cell["sites"]) for cell in cells],
            "perplexity_change": [float(each) for each in ratio],
            "on": {on: _figures(cells, on) for on in ("curated", "random")},
        }
    return found


def _by_set(study: Study) -> dict[str, Any]:
    found = {}
    for variant in study.sets:
        cells = study.cells("cross", variant)
        found[variant] = {
            "strengths": [cell["strength"] for cell in cells],
            "within_budget": [cell["within_budget"] for cell in cells],
            "sites": [len(cell["sites"]) for cell in cells],
            "on": {on: _figures(cells, on) for on in study.sets},
        }
    return found


def _section(study: Study, title: str, found: Mapping[str, Any]) -> Iterator[str]:
    own, *others = study.sets
    yield from [
        f"## {title}",
        "",
        f"{found['machine']}. Recipe `{study.studies.recipe}`, {study.studies.prompts_a_set} prompts a set, seeds "
        f"{', '.join(map(str, study.studies.seeds))}.",
        "",
        "### Control sets",
        "",
        f"Learned from {own} with three control sets, tested on its held-out source prompts, against its held-out "
        "control prompts (curated) and against random texts.",
        "",
    ]
    rows: list[list[object]] = [
        [CONTROLS[variant], on, *_cells(each, on), f"{100 * np.mean(each['perplexity_change']):+.2f}"]
        for variant, each in found["control"].items()
        for on in ("curated", "random")
    ]
    columns = {**dict.fromkeys(("learned with control", "tested on control", "λ", *_COLUMNS), "")}
    yield from markdown_table(rows, {**columns, "perplexity of texts, %": ""})
    yield from ["", f"### {own} and {', '.join(others)}", "", "Gates and maps of one set, tested on both.", ""]
    rows = [[variant, on, *_cells(each, on)] for variant, each in found["cross"].items() for on in study.sets]
    yield from markdown_table(rows, dict.fromkeys(("learned from", "tested on", "λ", *_COLUMNS), ""))


def _cells(each: Mapping[str, Any], on: str) -> list[object]:
    figures = each["on"][on]
    gate = [_interval(figures[name], 1, ".3f") for name in ("right", "above")]
    return [
        f"{np.mean(each['strengths']):.3g}",
        *gate,
        *(_interval(figures[name], 100, ".1f") for name in ("unsteered", "steered", "unchanged")),
    ]


def _interval(found: Mapping[str, float], scale: float, spec: str) -> str:
    mean, low, high = (format(scale * found[key], spec) for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"
