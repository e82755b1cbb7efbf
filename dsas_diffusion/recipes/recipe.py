"""Recipes: one row of the paper's tables, and a study of sets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from json import dumps
from typing import Any

from ..core.registry import Registry
from ..errors import InputError
from ..fitting.learning import Weighting
from ..fitting.training_loop import Training
from ..gates.base import GATES
from ..hooks.calls import Tokens
from ..methods.base import METHODS
from .protocol import check_strengths


@dataclass(frozen=True)
class Place:
    """Where a row steers in one model.

    Args:
        sites: As for `fit`.
        read: As for `fit`.
        tokens: Which tokens are learned from, as for `fit`.
        training: As for `fit`.
    """

    sites: str | list[str]
    read: str | None = None
    tokens: Tokens = "prompt"
    training: Training | None = None


@dataclass(frozen=True)
class Published:
    """Figures of a paper.

    Args:
        source: arXiv number and table, or who tells them.
        rtp: Toxic continuations of RTP prompts, in percent.
        tet: Toxic continuations of TET prompts, in percent.
        toxicity: Toxic continuations in percent, where it is not told of which prompts.
        perplexity: Of Wikipedia sentences.
        mmlu: Right answers in percent.
        note: What else has to be known.
    """

    source: str
    rtp: float | None = None
    tet: float | None = None
    toxicity: float | None = None
    perplexity: float | None = None
    mmlu: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Recipe:
    """One row: a method with its gate, and what the papers say of it.

    Args:
        title: How a table calls it.
        open: What the papers leave open, and what was chosen here.
        method: `name` in `METHODS`, and its settings; `None` for the model alone.
        gate: `name` in `GATES`, and its settings; `None` for the model alone.
        models: Name of a protocol's model → where it is steered.
        against: Name of the recipe that this one is compared with, pair by pair: the same without its gate.
        strengths: The λ that are tried; `None` for the protocol's.
        weighting: As for `fit`.
        tau: As for `fit`.
        paper: Name of a model → published figures.

    Raises:
        InputError: If only one of method and gate is given, or a name or setting of theirs is unknown.
    """

    title: str
    open: str
    method: Mapping[str, Any] | None = None
    gate: Mapping[str, Any] | None = None
    models: Mapping[str, Place] = field(default_factory=dict)
    against: str | None = None
    strengths: Sequence[float] | None = None
    weighting: Weighting = "threshold"
    tau: float = 0.75
    paper: Mapping[str, Sequence[Published]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.method is None) != (self.gate is None):
            raise InputError("Give both method and gate, or neither for the model alone.")
        if self.strengths is not None:
            check_strengths(self.strengths)
        if self.method is not None:
            self.make_method()
            self.make_gate()

    def make_method(self) -> Any:
        """Give an unfitted instance of the method.

        Raises:
            InputError: If there is no such method, or it has no such setting.
        """
        return _made(METHODS, "method", self.method or {})

    def make_gate(self) -> Any:
        """Give an unfitted instance of the gate.

        Raises:
            InputError: If there is no such gate, or it has no such setting.
        """
        return _made(GATES, "gate", self.gate or {})

    def place(self, model: str) -> Place:
        """Say where the row steers in a model.

        Raises:
            InputError: If the recipe doesn't say.
        """
        if model not in self.models:
            raise InputError(
                f"The recipe {self.title!r} says nothing of the model {model!r}, only of {', '.join(self.models)}. Add "
                "it under models, with its sites."
            )
        return self.models[model]

    @property
    def digest(self) -> str:
        """SHA-256 over what a figure depends on; texts and published figures are no part of it."""
        told = {key: value for key, value in asdict(self).items() if key not in ("title", "open", "paper", "against")}
        return sha256(dumps(told, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Studies:
    """What the studies of sets are run on.

    Args:
        recipe: Name of the row whose method and gate are fitted.
        prompts_a_set: How many source, target and control prompts each fit draws.
        seeds: Of the draws, the fits and the continuations.
        heldout: Held-out prompts of either side, at most.
        tuning: Prompts to choose λ on, at most.
        sets: Name of a protocol's model → name of a set → its source, as for `load_set`; control sets are compared on
            the first one.

    Raises:
        InputError: If a number is out of range.
    """

    recipe: str
    prompts_a_set: int
    seeds: Sequence[int]
    heldout: int
    tuning: int
    sets: Mapping[str, Mapping[str, str]]

    def __post_init__(self) -> None:
        if min(self.prompts_a_set, self.heldout) < 2 or self.tuning < 1 or not self.seeds:
            raise InputError(
                f"prompts_a_set is {self.prompts_a_set}, heldout {self.heldout}, tuning {self.tuning} and seeds "
                f"{list(self.seeds)}; accepted are 2 or more, 2 or more, 1 or more, and 1 seed or more."
            )

    def sets_of(self, model: str) -> Mapping[str, str]:
        """Give a model's sets.

        Raises:
            InputError: If there are fewer than two.
        """
        found = self.sets.get(model, {})
        if len(found) < 2:
            raise InputError(
                f"The studies name {len(found)} sets for the model {model!r}, but compare two or more. There are sets "
                f"for {', '.join(self.sets)}."
            )
        return found


def _made(registry: Registry[Any], kind: str, asked: Mapping[str, Any]) -> Any:
    settings = dict(asked)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"{kind} is {dict(asked)!r}, but must have a name, such as {{name: {next(iter(registry))}}}.")
    try:
        return registry[name](**settings)
    except TypeError as error:
        raise InputError(f"The {kind} {name!r} does not take {settings}: {error}.") from error
