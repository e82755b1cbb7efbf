"""A protocol: what all rows of the paper's tables share, and where the data of each model come from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ..errors import InputError
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


def check_strengths(strengths: Sequence[float]) -> None:
    """Refuse a grid that nothing can be chosen from.

    Raises:
        InputError: If it is empty, or not rising from above 0.
    """
    if not strengths or strengths[0] <= 0 or sorted(set(strengths)) != list(strengths):
        raise InputError(f"strengths is {list(strengths)}; accepted are one number or more, rising from above 0.")
