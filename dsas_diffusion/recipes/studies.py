"""Studies of the sets that gates learn from: control sets, C = T, and a gate tested on another set than its own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from ..claims import claim
from ..evaluation.layers import sides
from ..evaluation.report import to_json
from ..evaluation.unchanged import unchanged
from ..files import atomic_write, read_json
from ..hooks.steerer import Steerer
from ..prompts import Concept, Prompt, PromptSet
from .arena import Arena, chosen_strength, fit_recipe, load_arena, perplexities, toxics
from .files import PROTOCOL, STUDIES, load_protocol, load_recipes, load_studies
from .material import draw_set
from .pages import MACHINE, command_line, machine, write_report
from .protocol import Protocol
from .recipe import Place, Recipe, Studies
from .study_report import ABOUT, figures, section
from .study_sets import CONTROLS, StudySet, load_set, random_texts

MANIFEST: Final = "studies.json"


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
    command = command_line("study.py", [], models, page)
    lines = ["# Control sets, and gates on another set", "", f"Written by `{command}`. {ABOUT}"]
    kept: dict[str, Any] = {"command": command, "models": {}}
    for model in dict.fromkeys(models):
        arena = load_arena(protocol, model, device)
        sets = {
            name: load_set(name, source, arena.data, studies.heldout, studies.tuning)
            for name, source in studies.sets_of(model).items()
        }
        study = Study(arena, protocol, recipe, recipe.place(model), studies, sets, Path(out) / model)
        study.run(progress)
        atomic_write(study.folder / MACHINE, to_json({"machine": machine(arena.model.device.type)}))
        control = {variant: study.cells("control", variant) for variant in CONTROLS}
        cross = {name: study.cells("cross", name) for name in sets}
        kept["models"][model] = {"machine": read_json(study.folder / MACHINE)["machine"], **figures(control, cross)}
        lines += ["", *section(protocol.model(model).title, studies, kept["models"][model])]
    return write_report(out, page, "\n".join([*lines, ""]), kept)
