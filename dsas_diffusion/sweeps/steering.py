"""Steering as a technique: a map, a gate, sites, and how they are fitted."""

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from ..files import atomic_folder
from ..fitting.fit import fit
from ..fitting.training_loop import Training
from ..gates.base import GATES
from ..hooks.attachment import Attachment
from ..hooks.guidance import Half
from ..hooks.steerer import Steerer
from ..methods.base import METHODS
from ..prompt_set import FIT_GROUPS, PromptSet
from ..prompts import load_prompts
from .technique import CallArguments, Conditions, Technique, as_asked, check_settings

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

#: Arguments of `fit` that a sweep sets, or that have a setting of their own.
SET_HERE: Final = (
    "pipe", "prompts", "tokenizer", "tokens", "chat", "method", "gate", "sites", "towards", "training", "seed",
    "batch_size", "generation", "progress",
)  # fmt: skip


_PAPER: Final = "arXiv 2512.03661"


class Steering(Technique):
    """A steerer for each concept, attached together: t' = lerp(t, T(t), λ·s·h(t)) at every site.

    Args:
        method: Name in `METHODS`.
        gate: Name in `GATES`; `"always"` for vanilla steering.
        sites: As for `fit`.
        method_settings: What the method is made with.
        gate_settings: What the gate is made with.
        fit_settings: Further arguments of `fit`, such as `tau` or `estimation`.
        training: Arguments of `Training`, where maps (and gates) are trained end to end; `None` for the method's own.
        prompts: So many prompts of each fit group, twins together; `None` for all.
        control: A prompt set whose control prompts take the place of the concepts' own; `"target"` for their targets
            (C = T).
        swapped: Share of source and control prompts, in [0, 0.5], that change places in what gates learn from: noise in
            the labels.
        start: As for `Steerer.attached`.
        end: As for `Steerer.attached`.
        half: As for `Steerer.attached`.

    Raises:
        InputError: If a name is unknown, or a number is out of range.

    Source: Dynamically Scaled Activation Steering, arXiv 2512.03661.
    """

    def __init__(
        self,
        method: str = "caa",
        gate: str = "patch",
        sites: str | Sequence[str] = "auto",
        method_settings: Mapping[str, Any] | None = None,
        gate_settings: Mapping[str, Any] | None = None,
        fit_settings: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        prompts: int | None = None,
        control: str | None = None,
        swapped: float = 0.0,
        start: float = 0.0,
        end: float = 1.0,
        half: Half = "conditional",
    ) -> None:
        if not 0 <= swapped <= 0.5 or (prompts is not None and prompts < 2):
            raise InputError(
                f"swapped is {swapped} and prompts {prompts}; accepted are a share from 0 to 0.5, and 2 prompts or "
                "more."
            )
        self.method, self.gate, self.sites = method, gate, sites
        self.method_settings, self.gate_settings = dict(method_settings or {}), dict(gate_settings or {})
        self.fit_settings, self.training = dict(fit_settings or {}), training
        self.prompts, self.control, self.swapped = prompts, control, swapped
        self.attaching: dict[str, Any] = {"start": start, "end": end, "half": half}
        self._made()  # raises for an unknown name or setting
        self.steerers: list[Steerer] = []

    @property
    def unit_strength(self) -> str:  # ty: ignore[incompatible-property-override]
        """That of the map."""
        return METHODS[self.method].unit_strength

    @property
    def source(self) -> str:  # ty: ignore[incompatible-property-override]
        """The map's paper, and the gates' one where there are gates."""
        return _paper(METHODS[self.method].__doc__) + ("" if self.gate == "always" else f", gated as in {_PAPER}")

    def _made(self) -> dict[str, Any]:
        """Make the map, the gate and the training that `fit` takes."""
        made: dict[str, Any] = {"method": METHODS[self.method], "gate": GATES[self.gate], "training": Training}
        given = {"method": self.method_settings, "gate": self.gate_settings, "training": self.training}
        for name, settings in given.items():
            check_settings(getattr(self, name) if name != "training" else name, made[name], settings or {})
        check_settings("fit", fit, self.fit_settings, SET_HERE)
        return {name: None if settings is None else made[name](**settings) for name, settings in given.items()}

    def prepare(
        self, pipe: "DiffusionPipeline", concepts: Sequence[PromptSet], conditions: Conditions, folder: Path
    ) -> None:
        places = [f"{number}-{concept.concept.label}" for number, concept in enumerate(concepts)]
        if not folder.is_dir():
            with atomic_folder(folder) as temporary:
                for place, concept in zip(places, concepts, strict=True):
                    fit(
                        pipe,
                        self.learned_from(concept, conditions.seed),
                        sites=self.sites,
                        towards=conditions.towards,
                        seed=conditions.seed,
                        batch_size=conditions.batch_size,
                        generation=conditions.generation,
                        progress=False,
                        **self._made(),
                        **self.fit_settings,
                    ).save_pretrained(temporary / place)
        # The saved ones always, so that a sweep that is taken up again steers with the same.
        self.steerers = [Steerer.from_pretrained(folder / place) for place in places]

    def learned_from(self, concept: PromptSet, seed: int) -> PromptSet:
        """Give the prompts that a concept is learned from: fewer, with another control set, or mixed up.

        Args:
            concept: The concept's set.
            seed: Of the choice of what is mixed up.
        """
        if self.control is not None:
            others = concept.target if self.control == "target" else load_prompts(self.control).control
            concept = replace(concept, control=others)
        if self.prompts is not None:
            parts = {group: _spread(getattr(concept, group), self.prompts) for group in FIT_GROUPS}
            concept = replace(concept, **parts)
        count = round(self.swapped * min(len(concept.source), len(concept.control)))
        if not count:
            return concept
        choice = Random(seed)
        wrong = zip(
            choice.sample(range(len(concept.source)), count),
            choice.sample(range(len(concept.control)), count),
            strict=True,
        )
        source, target, control = (list(getattr(concept, group)) for group in FIT_GROUPS)
        for shown, other in wrong:  # the twin of a scene without the concept is that scene
            source[shown], control[other] = control[other], source[shown]
            if concept.twins:
                target[shown] = source[shown]
        return replace(concept, source=tuple(source), target=tuple(target), control=tuple(control))

    @contextmanager
    def applied(self, pipe: "DiffusionPipeline", strength: float) -> Generator[CallArguments]:
        first = self.steerers[0]
        prepared = [
            steerer.prepared(pipe, strength, name=f"{number}-{steerer.concept}", **self.attaching)
            for number, steerer in enumerate(self.steerers)
        ]
        attachment = Attachment(first.host(pipe), prepared)
        try:
            yield as_asked
        finally:
            attachment.detach()


def _spread(prompts: Sequence[Any], count: int) -> tuple[Any, ...]:
    """Take neighbours from all over a group: its halves are of two kinds, and every second prompt lacks the name."""
    if count >= len(prompts):
        return tuple(prompts)
    pairs = (count + 1) // 2
    places = [2 * (number * (len(prompts) // 2) // pairs) + side for number in range(pairs) for side in (0, 1)]
    return tuple(prompts[place] for place in places[:count])


def _paper(docstring: str | None) -> str:
    """The first paper that a docstring names."""
    found = re.search(r"arXiv \d{4}\.\d{5}", docstring or "")
    return found[0] if found else "ours"
