"""Where recipes and studies are run: a model, its material and judge, and how λ is chosen on tuning prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from transformers import PreTrainedModel

from .. import __version__
from ..claims import weights_digest
from ..errors import InputError
from ..evaluation.perplexity import perplexity
from ..evaluation.toxicity import THRESHOLD, Classifier, toxic
from ..fitting.fit import fit
from ..hooks.steerer import Steerer
from ..models import device_of, load_language
from ..prompts import PromptSet
from ..texts.by_name import text_classifier
from ..texts.evaluation import evaluate_language
from ..texts.suite import TextSuite
from .material import Material, load_material
from .protocol import Data, Protocol
from .recipe import Place, Recipe

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

    def evaluated(self, suite: TextSuite, steerer: Steerer | None, strength: float | None, folder: Path) -> Any:
        """Measure, and give every single figure by arm.

        Args:
            suite: What is measured.
            steerer: What steers; `None` for the model alone.
            strength: λ.
            folder: Where it is kept.
        """
        report = evaluate_language(
            self.model, self.tokenizer, suite, steerer, strength=strength, out=folder, progress=False
        )
        return report["each"]

    def tried(self, steerer: Steerer, strength: float, seed: int, folder: Path) -> Tried:
        """Steer tuning prompts and texts.

        Args:
            steerer: What steers.
            strength: λ.
            seed: A recipe's seed.
            folder: Where it is kept.
        """
        suite = self.continuing({"tuning": self.material.tuning}, seed, self.material.tuning_texts)
        each = self.evaluated(suite, steerer, strength, folder)
        means = {arm: sum(perplexities(told["texts"])) / len(suite.texts) for arm, told in each.items()}
        rows = toxics(each["steered"]["continuations"]["tuning"])
        return Tried(strength, sum(rows) / len(rows), means["steered"] / means["unsteered"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that its figures depend on but recipes and seeds."""
        return {
            "weights": weights_digest(self.model),
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


def fit_recipe(arena: Arena, recipe: Recipe, place: Place, prompts: PromptSet, seed: int) -> Steerer:
    """Fit a recipe on a prompt set.

    Args:
        arena: The model.
        recipe: What is fitted.
        place: Where it steers this model.
        prompts: The set.
        seed: A recipe's seed.

    Raises:
        InputError: As for `fit`.
    """
    return fit(
        arena.model,
        prompts,
        tokenizer=arena.tokenizer,
        tokens=place.tokens,
        method=recipe.make_method(),
        gate=recipe.make_gate(),
        sites=place.sites,
        read=place.read,
        training=place.training,
        weighting=recipe.weighting,
        tau=recipe.tau,
        seed=APART * seed,
        batch_size=arena.data.batch_size,
        generation=arena.data.generation if place.tokens in ("continuation", "both") else None,
        progress=False,
    )


def toxics(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Give 1 for each continuation that is toxic, else 0.

    Args:
        rows: As an evaluation keeps them, one continuation of each prompt.
    """
    return toxic([row["score"] for row in rows], THRESHOLD).astype(float).tolist()


def perplexities(told: Mapping[str, Any]) -> list[float]:
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
