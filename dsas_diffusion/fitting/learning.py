"""What fit() learns at one site: its map, its gate, and how far it can be trusted."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.probe import core_of
from ..errors import InputError
from ..gates.base import Gate, Samples
from ..gates.logistic import LogisticGate
from ..gates.patch import INSIDE, OUTSIDE
from ..hooks.sites import Site
from ..hooks.steered_site import SteeredSite
from ..methods.base import SteeringMethod
from ..prompts import PromptSet
from .validation import cross_validated, first_samples

Weighting = Literal["accuracy", "threshold"]
MapFrom = Literal["auto", "pooled", "inside", "core"]
#: Of the positions in a region read off twins, the share that a map learns from.
CORE: Final = 0.5


class Learning:
    """What is learned at a site: its map, its gate and how far it can be trusted.

    Maps that need gradients stay the identity here; they are trained at all sites together (`training.train`).
    """

    def __init__(
        self,
        prompts: PromptSet,
        make_method: Callable[[], SteeringMethod],
        make_gate: Callable[[], Gate],
        reads: Mapping[str, Site],
        map_from: MapFrom,
        weighting: Weighting,
        tau: float,
    ) -> None:
        self.prompts, self.make_method, self.make_gate, self.reads = prompts, make_method, make_gate, reads
        self.map_from, self.weighting, self.tau = map_from, weighting, tau
        self._gates: dict[tuple[Site, ...], tuple[Gate, dict[str, float], list[int]]] = {}
        self._siblings: dict[Site, Gate] = {}  # one of the gates whose last factor is read there

    def forget(self) -> None:
        """Learn gates anew from here on: something else was recorded."""
        self._gates.clear()
        self._siblings.clear()

    def at(self, site: Site, recorded: dict[str, dict[str, Samples]]) -> tuple[SteeredSite, list[int]]:
        """Learn one site; name the control prompts that its gate mistakes."""
        method = self.make_method().reset(site.channels)
        if not method.needs_gradients:
            method.fit(*_map_samples(site.path, recorded, self.map_from))
        method.see_positions(recorded["from"][site.path].positions)
        factors = self.make_gate().factors
        seen = tuple(self.reads.get(factor, site) for factor in factors)
        if seen not in self._gates:  # sites that read the same share a gate
            self._gates[seen] = _learned(self.make_gate(), seen, recorded, self._siblings.get(seen[-1]))
            self._siblings[seen[-1]] = self._gates[seen][0]
        gate, measured, mistaken = self._gates[seen]
        weight = _weight(measured["accuracy"], self.weighting, self.tau) if gate.weighted else 1.0
        if weight and "target" in recorded:
            source, target = (recorded[group][seen[0].path] for group in ("source", "target"))
            measured["auroc_to_target"] = cross_validated(
                LogisticGate(), source, target, twins=self.prompts.twins
            ).auroc
        elsewhere = {factor: place for factor, place in self.reads.items() if place != site}
        return SteeredSite(site, gate, method, weight, measured, elsewhere), mistaken


def most_trusted(fitted: Sequence[SteeredSite], tau: float, prompts: PromptSet, top_k: int | None) -> list[SteeredSite]:
    """Choose the sites that are steered: of those with a weight the most accurate, the first of equals.

    Args:
        fitted: What was learned at every site.
        tau: The accuracy that they needed.
        prompts: The prompt set.
        top_k: How many at most; `None` for all.

    Returns:
        The chosen ones, in their order.

    Raises:
        InputError: If no site has a weight.
    """
    kept = [s for s in fitted if s.weight > 0]
    if not kept:
        best = sorted(fitted, key=lambda s: -s.measured["accuracy"])[:5]
        shown = ", ".join(f"{s.site.path} {s.measured['accuracy']:.2f}" for s in best)
        raise InputError(
            f"No site tells the source prompts of {prompts.name!r} from its control prompts with an accuracy of "
            f"tau={tau} or more, so a steerer would do nothing. The best sites: {shown}. Check that the pictures of "
            "the source prompts show the concept and those of the control prompts don't, use more prompts or other "
            "sites, or lower tau."
        )
    best = {s.site.path for s in sorted(kept, key=lambda s: -s.measured["accuracy"])[:top_k]}
    return [s for s in kept if s.site.path in best]


def _map_samples(
    path: str, recorded: dict[str, dict[str, Samples]], map_from: MapFrom
) -> tuple[Float[Tensor, "n channels"], Float[Tensor, "m channels"]]:
    before, after = recorded["from"][path], recorded["to"][path]
    if map_from == "pooled" or before.inside is None:
        return before.pooled, after.pooled
    chosen = before.inside >= INSIDE
    if map_from == "core":
        weight, threshold = core_at(path, recorded)
        chosen = chosen & (before.positions.float() @ weight >= threshold)
    return before.positions[chosen], after.positions[chosen]  # twins have their positions at the same places


def core_at(path: str, recorded: dict[str, dict[str, Samples]]) -> tuple[Float[Tensor, "channels"], Float[Tensor, ""]]:
    """Learn what tells the core of a site's region, see `core.probe.core_of`."""
    before, control = recorded["from"][path], recorded["control"][path]
    inside = cast(Tensor, before.inside)  # known where map_from="core" is settled on
    other = torch.cat([before.positions[inside < OUTSIDE], control.positions])
    return core_of(before.positions[inside >= INSIDE], other, CORE)


def _learned(
    gate: Gate, seen: Sequence[Site], recorded: dict[str, dict[str, Samples]], sibling: Gate | None
) -> tuple[Gate, dict[str, float], list[int]]:
    """Fit a gate whose factors are read at the given sites, and measure it; name the control prompts it mistakes."""
    gate.reset(*(site.channels for site in seen))
    source, control = (_seen(recorded[group], seen) for group in ("source", "control"))
    if gate.unit == "prompt":  # it decides in a run's first step, so that is what it learns and is measured on
        source, control = first_samples(source), first_samples(control)
    verdict = cross_validated(gate, source, control)
    if sibling is None:
        gate.fit(source, control)
    else:
        gate.fit_beside(sibling, source, control)
    measured = {"accuracy": verdict.accuracy, "auroc": verdict.auroc, **openness(gate, source, control)}
    return gate, measured, verdict.mistaken


def openness(gate: Gate, source: Samples, control: Samples) -> dict[str, float]:
    """Give how far a gate is open on average: on source positions, and on control ones."""
    return {
        "gate_on_source": gate.on_samples(source).mean().item(),
        "gate_on_control": gate.on_samples(control).mean().item(),
    }


def _seen(recorded: dict[str, Samples], sites: Sequence[Site]) -> Samples:
    """What a gate learns from: what is pooled where its first factor is read, positions where its last is."""
    there = recorded[sites[-1].path]
    return recorded[sites[0].path]._replace(positions=there.positions, inside=there.inside)


def _weight(accuracy: float, weighting: Weighting, tau: float) -> float:
    if accuracy < tau:
        return 0.0
    return max(0.0, 2 * accuracy - 1) if weighting == "accuracy" else 1.0
