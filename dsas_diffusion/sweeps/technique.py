"""The contract of a technique: one way to keep concepts out of pictures, whatever it changes in the pipeline."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from ..errors import InputError
from ..prompt_set import PromptSet, did_you_mean

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

#: From a batch's prompts to the arguments that the pipeline is called with: at least `prompt` or `prompt_embeds`.
CallArguments: TypeAlias = Callable[[Sequence[str]], Mapping[str, Any]]


@dataclass(frozen=True)
class Conditions:
    """What a technique learns under, beside the concepts.

    Args:
        seed: First seed of whatever it draws. Sweeps leave 10,000 between the fits of two seeds.
        batch_size: Prompts a pipeline call.
        generation: Sampling settings, the same that pictures are judged at.
        towards: Another set whose source and target say what is to become of the concept, such as `orchard/blur`;
            `None` for the concepts' own targets.
    """

    seed: int = 0
    batch_size: int = 16
    generation: Mapping[str, Any] = field(default_factory=dict)
    towards: PromptSet | None = None


class Technique(ABC):
    """One way to keep concepts out of what a pipeline draws: steering, a negative prompt, edited weights.

    `__init__` stores what a plan's YAML gives under `settings`; `prepare` learns; `applied` changes the pipeline for as
    long as its context lasts. Strength 0 must leave every picture bit for bit as it was, and so must the end of the
    context, whatever happened inside.

    Attributes:
        unit_strength: What strength 1 means, and whether more makes sense: one sentence for reports.
        source: The paper or library that it is taken from, with its equation.
        oracle: Whether it is told in words what to leave out of each prompt, and so stands beside the others and not
            among them.
    """

    unit_strength: ClassVar[str]
    source: ClassVar[str]
    oracle: ClassVar[bool] = False

    @abstractmethod
    def prepare(
        self, pipe: "DiffusionPipeline", concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        """Learn to keep out all the concepts together, from their fit prompts alone; a second call forgets the first.

        Args:
            pipe: The pipeline; comes out as it went in.
            concepts: One prompt set for each.
            conditions: Seed and sampling settings.
            folder: Where to keep what was learned, written whole or not at all (`files.atomic_folder`). If it is there
                already, that is read instead, so that a sweep that was stopped goes on with the same.

        Raises:
            InputError: If it can't be learned on this pipeline or from these prompts.
        """

    @abstractmethod
    def applied(self, pipe: "DiffusionPipeline", strength: float) -> AbstractContextManager[CallArguments]:
        """Keep the concepts out of whatever the pipeline draws while the context lasts.

        Args:
            pipe: The pipeline that it was prepared on.
            strength: How strongly; 0 for not at all.

        Returns:
            A context whose value turns prompts into the pipeline's arguments; most techniques leave prompts alone and
            give :func:`as_asked`.
        """


def as_asked(texts: Sequence[str]) -> Mapping[str, Any]:
    """Call the pipeline with the prompts as they are.

    Args:
        texts: The prompts of a batch.
    """
    return {"prompt": list(texts)}


def check_settings(what: str, made: Callable[..., Any], settings: Mapping[str, Any], taken: Sequence[str] = ()) -> None:
    """Refuse settings that a class or function does not take.

    Args:
        what: How messages call it.
        made: The class or function.
        settings: Name → value.
        taken: Arguments that are set otherwise.

    Raises:
        InputError: At the first that is unknown.
    """
    parameters = inspect.signature(made).parameters.values()
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    accepted = [name for name in named if name not in taken]
    for name in settings:
        if name not in accepted:
            raise InputError(
                f"{what} has no setting {name!r}.{did_you_mean(name, accepted)} Accepted are "
                f"{', '.join(accepted) or 'none'}."
            )
