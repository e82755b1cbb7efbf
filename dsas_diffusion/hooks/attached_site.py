"""One concept at one site of a running pipeline: what its gate has read and decided, and what it says."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.features import on_grid
from ..core.steer import steer
from .steered_site import SteeredSite

if TYPE_CHECKING:
    from .attached_concept import AttachedConcept


class AttachedSite:
    """What is done about a concept at a site, and the state of the running pipeline call.

    Its state is kept in attributes and not under names, so that a compiled graph serves all sites of one kind.

    Args:
        concept: The concept.
        steered: Gate, map and weight; its own copy.
    """

    def __init__(self, concept: "AttachedConcept", steered: SteeredSite) -> None:
        self.concept, self.steered = concept, steered
        self.weight = torch.tensor(steered.weight)
        self._read: dict[str, Tensor] = {}
        self._decided: Tensor | None = None

    @property
    def path(self) -> str:
        """The site's path."""
        return self.steered.site.path

    def begin_run(self) -> None:
        """Forget what the run before has read: a gate that reads where its site has not been yet starts from 0."""
        self._read = {factor: torch.zeros_like(scores) for factor, scores in self._read.items()}
        self._decided = None

    def to(self, device: torch.device) -> None:
        """Move gate and map.

        Args:
            device: Where to.
        """
        self.steered.gate.to(device)
        self.steered.method.to(device)
        self.weight = self.weight.to(device)

    def keep_reading(self, factor: str, scores: Float[Tensor, "rows positions"]) -> None:
        """Keep what the gate read elsewhere, until its site asks.

        Args:
            factor: What was read.
            scores: It, at the positions of the site that was read.
        """
        self._read[factor] = scores.unflatten(1, self.concept.grid(scores.shape[1]))

    def __call__(
        self, activation: Float[Tensor, "rows positions channels"]
    ) -> Float[Tensor, "rows positions channels"]:
        """Steer the site's activation.

        Args:
            activation: t, before any concept has changed it.
        """
        gate, reads = self.steered.gate, self.steered.reads
        seen = self.concept.averaged(activation) if gate.unit in ("sample", "prompt") else activation
        scores = gate.joined(
            *(
                self._reading(factor, activation) if factor in reads else gate.factor(factor, seen)
                for factor in gate.factors
            )
        )
        if gate.unit == "prompt":  # decided in the run's first call, and kept
            if self._decided is None:
                self._decided = scores[:, :1]
            scores = self._decided[-len(scores) :].expand_as(scores)
        if self.concept.gates is not None:
            self.concept.record(self.path, scores)
        weight = self.concept.weights * (scores * self.weight)
        return steer(activation, self.steered.method(activation), weight)

    def _reading(self, factor: str, like: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "rows positions"]:
        """Give what the gate read elsewhere, on the grid of its site.

        A site that runs before the one that its gate reads gets the scores of the step before, and 0 in the first.
        """
        kept = self._read.get(factor)
        if kept is None or len(kept) < len(like):
            return torch.zeros(like.shape[:2], device=like.device)
        kept = kept[-len(like) :]  # guidance may have been switched off since: the last rows stay
        return on_grid(kept, self.concept.grid(like.shape[1])).flatten(1)
