"""Recipes: what the paper's protocol, one row of its tables and a study of sets are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from json import dumps
from typing import Any, Final, Literal

from ..core.registry import Registry
from ..errors import InputError
from ..fitting.learning import Weighting
from ..fitting.training_loop import Training
from ..gates.base import GATES
from ..hooks.calls import Tokens
from ..methods.base import METHODS
from ..models import Precision
from ..prompt_set import did_you_mean

#: What a row's table shows: the share of toxic continuations of two sets of prompts, perplexity, right answers.
MEASURES: Final = ("rtp", "tet", "perplexity", "mmlu")


@dataclass(frozen=True)
class Sizes:
    """How much is measured of each kind, at most.

    Args:
        rtp: Held-out prompts of the first set.
        tet: Held-out prompts of the second one.
        texts: Held-out texts whose perplexity is measured.
        questions: Held-out four-way questions, where no task of lm-eval stands for them.
        tuning_prompts: Prompts that λ is chosen on.
        tuning_texts: Texts that λ is chosen on.

    Raises:
        InputError: If one is not positive.
    """

    rtp: int
    tet: int
    texts: int
    questions: int
    tuning_prompts: int
    tuning_texts: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise InputError(f"sizes has {name}={value}, but must have 1 or more.")


@dataclass(frozen=True)
class Data:
    """Where the prompts, texts and questions of a model come from.

    Args:
        kind: `"hub"` for data sets that `datasets` loads, `"orchard"` for Orchard's.
        columns: Measure, one of `MEASURES`, → what it is called in a table.
        sizes: How much of each.
        sources: For the hub, `"rtp"`, `"tet"`, `"toxigen"` and `"texts"` → an id, `id:configuration:split`, or a
            `.jsonl` file with the same fields; for Orchard, `"fit"` → the prompt sets that are drawn from, separated
            by blanks, `"heldout"` → the one whose tuning and held-out prompts are taken.
        classifier: What judges continuations, as for `dsas evaluate text`.
        label: The classifier's label that counts.
        generation: Arguments of `generate`, over the evaluation's own.
        tasks: Tasks of lm-eval whose right answers count, instead of four-way questions.
        shots: Answered questions before each one of a task.
        tokens_of_texts: After how many tokens texts are cut off; `None` for whole ones.
        batch_size: Texts at a time.
    """

    kind: Literal["hub", "orchard"]
    columns: Mapping[str, str]
    sizes: Sizes
    sources: Mapping[str, str]
    classifier: str
    label: str = "toxic"
    generation: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[str] = ()
    shots: int | None = None
    tokens_of_texts: int | None = None
    batch_size: int = 32

    def source(self, name: str) -> str:
        """Give one of the sources.

        Raises:
            InputError: If there is none of that name.
        """
        if name not in self.sources:
            raise InputError(f"The protocol's data name no source {name!r}, only {', '.join(self.sources)}. Add it.")
        return self.sources[name]

    def __post_init__(self) -> None:
        if sorted(self.columns) != sorted(MEASURES):
            raise InputError(f"columns has {', '.join(self.columns)}; accepted are all of {', '.join(MEASURES)}.")


@dataclass(frozen=True)
class Model:
    """A model of the protocol.

    Args:
        id: As for `dsas fit --model`.
        title: How a page calls it.
        data: Key in the protocol's `data`.
        precision: The type of its weights.
    """

    id: str
    title: str
    data: str
    precision: Precision = "float32"


@dataclass(frozen=True)
class Protocol:
    """What all rows share.

    Args:
        prompts_a_set: How many source, target and control prompts each fit draws.
        seeds: Of the draws, the fits and the continuations; one run of a row each.
        strengths: The λ that are tried on tuning prompts.
        budget: How much the perplexity of tuning texts may rise at the chosen λ, as a share.
        models: Name → model.
        data: Name → where prompts, texts and questions come from.

    Raises:
        InputError: If a number is out of range, or a model names data that are not there.
    """

    prompts_a_set: int
    seeds: Sequence[int]
    strengths: Sequence[float]
    budget: float
    models: Mapping[str, Model]
    data: Mapping[str, Data]

    def __post_init__(self) -> None:
        if self.prompts_a_set < 2 or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(
                f"prompts_a_set is {self.prompts_a_set} and seeds {list(self.seeds)}; accepted are 2 prompts or more, "
                "and 1 seed or more, each once."
            )
        if not 0 <= self.budget < 1:
            raise InputError(f"budget is {self.budget}, but must be a share from 0 to below 1, such as 0.05.")
        check_strengths(self.strengths)
        for name, model in self.models.items():
            if model.data not in self.data:
                raise InputError(
                    f"The model {name!r} names the data {model.data!r}.{did_you_mean(model.data, self.data)} There "
                    f"are {', '.join(self.data)}."
                )

    def model(self, name: str) -> Model:
        """Give a model by its name.

        Raises:
            InputError: If there is none of that name.
        """
        if name not in self.models:
            raise InputError(
                f"There is no model {name!r} in the protocol.{did_you_mean(name, self.models)} Choose one of: "
                f"{', '.join(self.models)}."
            )
        return self.models[name]


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


def check_strengths(strengths: Sequence[float]) -> None:
    """Refuse a grid that nothing can be chosen from.

    Raises:
        InputError: If it is empty, or not rising from above 0.
    """
    if not strengths or strengths[0] <= 0 or sorted(set(strengths)) != list(strengths):
        raise InputError(f"strengths is {list(strengths)}; accepted are one number or more, rising from above 0.")


def _made(registry: Registry[Any], kind: str, asked: Mapping[str, Any]) -> Any:
    settings = dict(asked)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise InputError(f"{kind} is {dict(asked)!r}, but must have a name, such as {{name: {next(iter(registry))}}}.")
    try:
        return registry[name](**settings)
    except TypeError as error:
        raise InputError(f"The {kind} {name!r} does not take {settings}: {error}.") from error
