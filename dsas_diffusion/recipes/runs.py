"""Runs of recipes: one row and seed at a time, λ chosen on tuning prompts, taken up where it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from ..claims import claim
from ..errors import InputError
from ..evaluation.report import to_json
from ..files import atomic_write, read_json
from ..hooks.sites import find_sites
from ..hooks.steerer import Steerer
from .arena import Arena, chosen_strength, fit_recipe, load_arena, perplexities, right_answers, toxics
from .files import PROTOCOL, load_protocol, load_recipes
from .pages import MACHINE, command_line, machine, write_report
from .protocol import Protocol
from .recipe import Recipe
from .report import Measured, figures
from .report import page as markdown

MANIFEST: Final = "paper.json"


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
                find_sites(self.arena.model, recipe.place(self.name).sites)  # a wrong pattern is no failed fit
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
        tried = [
            self.arena.tried(steerer, strength, seed, self.folder / f"tuning-{seed}")
            for strength in recipe.strengths or self.protocol.strengths
        ]
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
        folder, place = self.folder / "steerers" / f"{name}-{seed}-{recipe.digest[:12]}", recipe.place(self.name)
        if not folder.is_dir():
            fit_recipe(
                self.arena,
                recipe,
                place,
                self.arena.material.drawn(self.protocol.prompts_a_set, seed),
                seed,
            ).save_pretrained(folder)
        return Steerer.from_pretrained(folder)  # the saved one always, so that a resumed run steers with the same

    def _held_out(self, steerer: Steerer | None, strength: float | None, seed: int) -> dict[str, list[float]]:
        """Give every measure's figures, one a prompt, text or question."""
        arm = "unsteered" if steerer is None else "steered"
        asked = self.arena.continuing(self.arena.material.heldout, seed)
        written = self.arena.evaluated(asked, steerer, strength, self.folder / f"heldout-{seed}")[arm]
        suite = self.arena.reading()
        read = self.arena.evaluated(suite, steerer, strength, self.folder / "reading")[arm]
        return {
            **{kind: toxics(rows) for kind, rows in written["continuations"].items()},
            "perplexity": perplexities(read["texts"]),
            "mmlu": right_answers(suite, read),
        }


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
    command = command_line("run.py", list(asked) if rows else [], models, page)
    told = markdown(protocol, every, found, command)
    kept = {
        "command": command,
        "models": {
            model: {"machine": each.machine, "rows": figures(every, each), "paper": _published(every, model)}
            for model, each in found.items()
        },
    }
    return write_report(out, page, told, kept)


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
