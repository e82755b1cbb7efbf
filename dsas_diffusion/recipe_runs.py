"""Runs of recipes: one row and seed at a time, λ chosen on tuning prompts, taken up where it stopped."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from . import __version__
from .claims import claim, digest
from .errors import InputError
from .evaluation.perplexity import perplexity
from .evaluation.report import to_json
from .evaluation.toxicity import THRESHOLD, Classifier, toxic
from .files import atomic_write, read_json
from .fitting import fit
from .hooks.steerer import Steerer
from .models import device_of, load_language
from .recipe_material import Material, load_material
from .recipe_report import Measured, figures
from .recipe_report import page as markdown
from .recipes import PROTOCOL, Data, Protocol, Recipe, load_protocol, load_recipes
from .text_evaluation import evaluate_language
from .text_judges import text_classifier
from .text_suite import TextSuite

MANIFEST: Final = "paper.json"
MACHINE: Final = "machine.json"
#: Seeds between two seeds of a recipe, so that no batches share one.
APART: Final = 10_000


class Tried(NamedTuple):
    """What one λ comes to on tuning prompts.

    Args:
        strength: λ.
        toxicity: Share of toxic continuations.
        perplexity: Mean of the tuning texts' perplexities, over the unsteered one.
    """

    strength: float
    toxicity: float
    perplexity: float


def chosen_strength(tried: Sequence[Tried], budget: float) -> tuple[float, bool]:
    """Choose λ: the fewest toxic continuations among those within the budget, the smallest of equals.

    Args:
        tried: One or more.
        budget: How much perplexity may rise, as a share.

    Returns:
        λ, and whether any was within the budget; if none was, λ is that of the least perplexity.
    """
    within = [each for each in tried if each.perplexity <= 1 + budget]
    if not within:
        return min(tried, key=lambda each: (each.perplexity, each.strength)).strength, False
    return min(within, key=lambda each: (each.toxicity, each.strength)).strength, True


@dataclass(frozen=True)
class Arena:
    """A model with everything that its rows are fitted and measured on.

    Args:
        model: The model, unsteered.
        tokenizer: Its tokenizer.
        data: Where the material comes from.
        material: The prompts, texts and questions.
        classifier: What judges continuations.
    """

    model: PreTrainedModel
    tokenizer: Any
    data: Data
    material: Material
    classifier: Classifier

    def continuing(self, prompts: Mapping[str, Sequence[str]], seed: int, texts: Sequence[str] = ()) -> TextSuite:
        """Give what measures continuations, and texts beside them.

        Args:
            prompts: Kind → prompts.
            seed: A recipe's seed.
            texts: Texts whose perplexity is measured.
        """
        return TextSuite(
            prompts=prompts,
            classifier=self.classifier,
            generation=self.data.generation,
            texts=texts,
            batch_size=self.data.batch_size,
            seed=APART * seed,
        )

    def reading(self) -> TextSuite:
        """Give what measures perplexity and right answers, which no seed of sampling changes."""
        return TextSuite(
            texts=self.material.texts,
            questions=() if self.data.tasks else self.material.questions,
            tasks=self.data.tasks,
            shots=self.data.shots,
            batch_size=self.data.batch_size,
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that its figures depend on but recipes and seeds."""
        return {
            "weights": digest(sorted(self.model.state_dict().items())),
            "precision": str(self.model.dtype).removeprefix("torch."),
            "data": asdict(self.data),
            "device": self.model.device.type,
            "threads": torch.get_num_threads() if self.model.device.type == "cpu" else None,
            "library_version": __version__,
        }


def load_arena(protocol: Protocol, name: str, device: str | None = None) -> Arena:
    """Load a model of the protocol and its material.

    Args:
        protocol: The protocol.
        name: The model's name there.
        device: Where to compute; `None` for the GPU if there is one.

    Raises:
        InputError: If the model, its data or the classifier can't be loaded.
    """
    about, where = protocol.model(name), device_of(device)
    data = protocol.data[about.data]
    model, tokenizer = load_language(about.id, where, about.precision)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    classifier = text_classifier(data.classifier, data.label, where, data.batch_size)
    if classifier is None:
        raise InputError("The protocol's classifier is 'none', but a recipe counts toxic continuations. Name one.")
    return Arena(model, tokenizer, data, load_material(data, tokenizer), classifier)


@dataclass(frozen=True)
class Runner:
    """Runs rows on one model; whatever is finished is read from the folder and never made twice.

    Args:
        arena: The model and what it is measured on.
        protocol: What all rows share.
        name: The model's name in the protocol.
        folder: Where everything of this model is kept.
    """

    arena: Arena
    protocol: Protocol
    name: str
    folder: Path

    def run(self, recipes: Mapping[str, Recipe], seeds: Sequence[int], progress: bool = True) -> None:
        """Run what is missing of some rows.

        Args:
            recipes: Name → recipe.
            seeds: Of the protocol's.
            progress: Show a bar.

        Raises:
            InputError: If the folder holds other work, a recipe doesn't say where it steers this model, a finished
                cell was made by another recipe, or something can't be measured.
        """
        for recipe in recipes.values():
            if recipe.method is not None:
                recipe.place(self.name)
        shared = {key: value for key, value in asdict(self.protocol).items() if key not in ("models", "data", "seeds")}
        claim(self.folder, {**shared, **self.arena.settings}, MANIFEST, "run of recipes")
        cells = [(name, recipe, seed) for seed in seeds for name, recipe in recipes.items()]
        due = [cell for cell in cells if kept_cell(self.folder, *cell) is None]
        with tqdm(
            initial=len(cells) - len(due), total=len(cells), desc=self.name, unit="run", disable=not progress
        ) as bar:
            for name, recipe, seed in due:
                bar.set_postfix_str(f"{name}, seed {seed}")
                atomic_write(cell_file(self.folder, name, seed), to_json(self._measured(name, recipe, seed)))
                bar.update()

    def _measured(self, name: str, recipe: Recipe, seed: int) -> dict[str, Any]:
        cell: dict[str, Any] = {"row": name, "seed": seed, "recipe": recipe.digest}
        if recipe.method is None:
            return {**cell, "each": self._held_out(None, None, seed)}
        try:
            steerer = self._steerer(name, recipe, seed)
        except InputError as error:
            return {**cell, "refused": str(error)}
        tried = [self._tried(steerer, strength, seed) for strength in recipe.strengths or self.protocol.strengths]
        strength, within = chosen_strength(tried, self.protocol.budget)
        return {
            **cell,
            "strength": strength,
            "within_budget": within,
            "tried": [each._asdict() for each in tried],
            "sites": len(steerer.sites),
            "fit_seconds": steerer.manifest["fit"]["seconds"],
            "each": self._held_out(steerer, strength, seed),
        }

    def _steerer(self, name: str, recipe: Recipe, seed: int) -> Steerer:
        folder, place = self.folder / "steerers" / f"{name}-{seed}", recipe.place(self.name)
        if not folder.is_dir():
            fit(
                self.arena.model,
                self.arena.material.drawn(self.protocol.prompts_a_set, seed),
                tokenizer=self.arena.tokenizer,
                tokens=place.tokens,
                method=recipe.make_method(),
                gate=recipe.make_gate(),
                sites=place.sites,
                read=place.read,
                training=place.training,
                weighting=recipe.weighting,
                tau=recipe.tau,
                seed=APART * seed,
                batch_size=self.arena.data.batch_size,
                generation=self.arena.data.generation,
                progress=False,
            ).save_pretrained(folder)
        return Steerer.from_pretrained(folder)  # the saved one always, so that a resumed run steers with the same

    def _tried(self, steerer: Steerer, strength: float, seed: int) -> Tried:
        material = self.arena.material
        suite = self.arena.continuing({"tuning": material.tuning}, seed, material.tuning_texts)
        each = self._evaluated(suite, steerer, strength, f"tuning-{seed}")
        means = {arm: sum(perplexities(told["texts"])) / len(material.tuning_texts) for arm, told in each.items()}
        rows = toxics(each["steered"]["continuations"]["tuning"])
        return Tried(strength, sum(rows) / len(rows), means["steered"] / means["unsteered"])

    def _held_out(self, steerer: Steerer | None, strength: float | None, seed: int) -> dict[str, list[float]]:
        """Give every measure's figures, one a prompt, text or question."""
        arm = "unsteered" if steerer is None else "steered"
        asked = self.arena.continuing(self.arena.material.heldout, seed)
        written = self._evaluated(asked, steerer, strength, f"heldout-{seed}")[arm]
        suite = self.arena.reading()
        read = self._evaluated(suite, steerer, strength, "reading")[arm]
        return {
            **{kind: toxics(rows) for kind, rows in written["continuations"].items()},
            "perplexity": perplexities(read["texts"]),
            "mmlu": right_answers(suite, read),
        }

    def _evaluated(self, suite: TextSuite, steerer: Steerer | None, strength: float | None, place: str) -> Any:
        report = evaluate_language(
            self.arena.model,
            self.arena.tokenizer,
            suite,
            steerer,
            strength=strength,
            out=self.folder / place,
            progress=False,
        )
        return report["each"]


def cell_file(folder: Path, name: str, seed: int) -> Path:
    """Say where one row and seed is kept.

    Args:
        folder: The model's.
        name: The row's.
        seed: The seed.
    """
    return folder / "cells" / f"{name}-{seed}.json"


def kept_cell(folder: Path, name: str, recipe: Recipe, seed: int) -> dict[str, Any] | None:
    """Give a finished cell; `None` if there is none.

    Args:
        folder: The model's.
        name: The row's.
        recipe: The row.
        seed: The seed.

    Raises:
        InputError: If it was made by another recipe, or is damaged.
    """
    path = cell_file(folder, name, seed)
    if not path.is_file():
        return None
    cell = read_json(path)
    if not isinstance(cell, dict) or cell.get("recipe") != recipe.digest:
        raise InputError(
            f"{path} was not made by the recipe {name!r} as it is now. Remove it and it is made anew, or name another "
            "folder with --out."
        )
    return cell


def run_recipes(
    folder: str | Path,
    rows: Sequence[str],
    models: Sequence[str],
    out: str | Path,
    page: str | Path | None = None,
    device: str | None = None,
    progress: bool = True,
) -> str:
    """Run rows on models, and write `report.md` and `report.json` over all that the folder holds.

    Args:
        folder: Where the recipes and `protocol.yaml` are.
        rows: Names of recipes; none for all.
        models: Names of the protocol's models.
        out: Where everything is kept.
        page: Another file for `report.md`; `report.json` then stands beside it, under its name.
        device: Where to compute; `None` for the GPU if there is one.
        progress: Show a bar.

    Returns:
        The page.

    Raises:
        InputError: If anything handed in can't be used, all recipes being read before the first one runs.
    """
    protocol, every = load_protocol(Path(folder) / PROTOCOL), load_recipes(folder)
    asked = load_recipes(folder, rows)
    for model in models:
        protocol.model(model)
    for model in dict.fromkeys(models):
        runner = Runner(load_arena(protocol, model, device), protocol, model, Path(out) / model)
        runner.run(asked, protocol.seeds, progress)
        atomic_write(runner.folder / MACHINE, to_json({"machine": machine(runner.arena.model.device.type)}))
    found = {model: _finished(Path(out) / model, every, protocol.seeds) for model in protocol.models}
    words = [*asked] if rows else []
    threads = os.environ.get("OMP_NUM_THREADS")
    command = " ".join(
        [
            *([f"OMP_NUM_THREADS={threads}"] if threads else []),
            "python examples/paper/run.py",
            *words,
            "--model",
            *models,
            *([] if page is None else ["--page", str(page)]),
        ]
    )
    told = markdown(protocol, every, found, command)
    kept = {
        "command": command,
        "models": {
            model: {"machine": each.machine, "rows": figures(every, each), "paper": _published(every, model)}
            for model, each in found.items()
        },
    }
    for path in [Path(out) / "report.md", *([] if page is None else [Path(page)])]:
        atomic_write(path, told)
        atomic_write(path.with_suffix(".json"), to_json(kept))
    return told


def machine(device: str) -> str:
    """Say when and on what something was measured.

    Args:
        device: `"cpu"` or `"cuda"`.
    """
    what = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores, {what}, torch {torch.__version__} ({platform.machine()})"


def _finished(folder: Path, recipes: Mapping[str, Recipe], seeds: Sequence[int]) -> Measured:
    """Read back all that is there of a model."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for name, recipe in recipes.items():
        for seed in seeds:
            cell = kept_cell(folder, name, recipe, seed)
            if cell is not None:
                cells.setdefault(name, []).append(cell)
    about = folder / MACHINE
    return Measured(cells, read_json(about)["machine"] if about.is_file() else None)


def _published(recipes: Mapping[str, Recipe], model: str) -> dict[str, Any]:
    return {name: [asdict(each) for each in recipe.paper.get(model, ())] for name, recipe in recipes.items()}


def toxics(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Give 1 for each continuation that is toxic, else 0.

    Args:
        rows: As an evaluation keeps them, one continuation of each prompt.
    """
    return toxic([row["score"] for row in rows], THRESHOLD).astype(float).tolist()


def perplexities(told: Mapping[str, Sequence[float]]) -> list[float]:
    """Give each text's own perplexity.

    Args:
        told: `log_likelihood` and `tokens`, as an evaluation keeps them.
    """
    return [perplexity(each, count) for each, count in zip(told["log_likelihood"], told["tokens"], strict=True)]


def right_answers(suite: TextSuite, told: Mapping[str, Any]) -> list[float]:
    """Give 1 for each question whose right answer is chosen, else 0; of tasks, of all of them in turn.

    Args:
        suite: What was measured.
        told: As an evaluation keeps it.

    Raises:
        InputError: If a task has no accuracy.
    """
    if not suite.tasks:
        return [
            float(made == asked.answer)
            for made, asked in zip(told["questions"]["chosen"], suite.questions, strict=True)
        ]
    found: list[float] = []
    for task, each in told["tasks"].items():
        if "acc,none" not in each:
            raise InputError(f"The task {task!r} has no accuracy, only {', '.join(each)}. Name another one.")
        found += each["acc,none"]
    return found
