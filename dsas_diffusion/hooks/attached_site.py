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
        self._decided: dict[str, Tensor | None] = dict.fromkeys(steered.gate.factors)

    @property
    def path(self) -> str:
        """The site's path."""
        return self.steered.site.path

    def begin_run(self) -> None:
        """Forget what the run before has read: a gate that reads where its site has not been yet starts from 0."""
        self._read = {factor: torch.zeros_like(scores) for factor, scores in self._read.items()}
        for factor in self._decided:  # the keys stay, for compiled graphs
            self._decided[factor] = None

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
        if not self.concept.decides_once(self.steered.gate):
            self._read[factor] = scores.unflatten(1, self.concept.grid(scores.shape[1]))
        elif self._decided[factor] is None:
            self._decided[factor] = scores[:, :1]

    def __call__(
        self, activation: Float[Tensor, "rows positions channels"]
    ) -> Float[Tensor, "rows positions channels"]:
        """Steer the site's activation.

        Args:
            activation: t, before any concept has changed it.
        """
        gate = self.steered.gate
        scores = gate.joined(*(self._factor(factor, activation) for factor in gate.factors))
        if self.concept.gates is not None:
            self.concept.record(self.path, scores)
        weight = self.concept.row_strengths.to(scores.device) * (scores * self.weight)
        return steer(activation, self.steered.method(activation), weight)

    def _factor(
        self, factor: str, activation: Float[Tensor, "rows positions channels"]
    ) -> Float[Tensor, "rows positions"]:
        gate = self.steered.gate
        elsewhere, once = factor in self.steered.reads, self.concept.decides_once(gate)
        decided = self._decided[factor] if once else None
        if decided is None and not elsewhere:
            decided = gate.factor(factor, self.concept.seen_by(gate, activation))
            if once:
                decided = self._decided[factor] = decided[:, :1] if self.concept.in_parts else decided
        if elsewhere and not once:
            return self._reading(factor, activation)
        if decided is None:
            return activation.new_zeros(activation.shape[:2], dtype=torch.float32)
        return decided[-len(activation) :].expand(activation.shape[:2])

    def _reading(self, factor: str, like: Float[Tensor, "rows positions channels"]) -> Float[Tensor, "rows positions"]:
        """Give what the gate read elsewhere, on the grid of its site.

        A site that runs before the one that its gate reads gets the scores of the step before, and 0 in the first.
        """
        kept = self._read.get(factor)
        if kept is None or len(kept) < len(like):
            return torch.zeros(like.shape[:2], device=like.device)
        kept = kept[-len(like) :].to(like.device)  # guidance may have been switched off since: the last rows stay
        return on_grid(kept, self.concept.grid(like.shape[1])).flatten(1)
