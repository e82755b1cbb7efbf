"""The loop of a training: its settings, its terms, and the state between iterations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from ..core.descent import Descent, ProximalDescent
from ..core.features import on_grid
from ..core.trainable import Trainable, Units
from ..core.transport import wasserstein
from ..errors import InputError
from ..hooks.live import CaughtCall, LiveSites
from .training_state import load_state, save_state

#: A loss so many times the first one has diverged.
DIVERGED: Final = 100.0


@dataclass(frozen=True)
class Training(Descent):
    """How maps are trained end to end.

    Args:
        optimizer: Plain gradient descent (sgd), or adam, with a learning rate near 0.02.
        learning_rate: At the start, above 0, in units of each site's spread; it falls along a cosine to a tenth.
        iterations: Gradient steps, at least 1.
        gates: Train the gates, too (E2E-DSAS): sigmoid (`"logistic"`) or ReLU (`"relu"`) ones, from what was learned
            offline. Else the maps are trained as if every gate were open, and the gates learned offline come on top.
        gamma: γ ≥ 0, weight of the change on control prompts, for `gates`.
        batch: Source prompts in one call of the model, at least 2. Their distribution is compared with that of all
            target prompts, so that many are better.
        accumulate: Calls of the model behind each gradient step.
        gradient_checkpointing: Compute activations again on the way back: less memory, a third more time.
        checkpoints: A folder for the state, so that an interrupted training can go on; `None` for none.
        every: Iterations between two checkpoints.
        resume: Go on from the state in that folder.

    Raises:
        InputError: If a setting is out of range.
    """

    gates: bool = False
    gamma: float = 1.0
    batch: int = 32
    accumulate: int = 1
    gradient_checkpointing: bool = False
    checkpoints: str | None = None
    every: int = 50
    resume: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.gamma < math.inf or self.batch < 2 or self.accumulate < 1 or self.every < 1:
            raise InputError(
                f"gamma={self.gamma} must be finite and 0 or more, batch={self.batch} at least 2, "
                f"accumulate={self.accumulate} and every={self.every} at least 1. The defaults are 1, 32, 1 and 50."
            )
        if self.resume and self.checkpoints is None:
            raise InputError("resume=True needs checkpoints=, the folder of the training to go on with.")


class DivergedError(InputError):
    """A training whose loss ran away.

    Args:
        message: What happened and what to do.
        site: Path of the site whose term was no number, or the largest.
        iteration: The iteration at which it happened, from 0.
        state: Buffers of the last good maps and gates, by site.
    """

    def __init__(self, message: str, site: str, iteration: int, state: dict[str, dict[str, Tensor]]) -> None:
        super().__init__(message)
        self.site, self.iteration, self.state = site, iteration, state


def normalised(terms: Sequence[Float[Tensor, "_"]]) -> Float[Tensor, ""]:
    """Join a loss so that every site weighs the same, however many channels it has.

    n · mean over sites of the mean over their channels, n the number of all channels: with sites of one width this is
    the sum, so that one learning rate serves any number of channels. Ours.

    Args:
        terms: For each site (channels,).
    """
    return torch.stack([term.mean() for term in terms]).mean() * sum(len(term) for term in terms)


class Trainer:
    """The loop: what is learned, what it is learned from, and the state between iterations."""

    def __init__(
        self,
        live: LiveSites,
        calls: Mapping[str, list[list[CaughtCall]]],
        training: Training,
        regions: Tensor | None,
        cores: Mapping[str, tuple[Tensor, Tensor]],
        seed: int,
    ) -> None:
        self.live, self.calls, self.training, self.regions, self.cores = live, calls, training, regions, cores
        self.seed = seed
        self._shares: dict[tuple[str, int, int], Tensor] = {}
        before, self.targets = self._pooled_by_step("source"), self._pooled_by_step("target")
        self.units = {
            path: Units.of(torch.cat([*steps.values(), *self.targets[path].values()])) for path, steps in before.items()
        }
        self.control_units = self._control_units() if training.gates else {}
        self.following: list[tuple[Trainable, dict[str, Tensor], Units]] = []
        for steered in live.sites:
            self._follow(steered.method, self.units[steered.site.path])
        penalised = self._parameters()
        if training.gates:
            for steered in live.sites:
                self._follow(steered.gate, self.control_units[steered.site.path])
        method: Any = live.sites[0].method
        self.p = method.p
        self.descent = ProximalDescent(training, self._parameters(), penalised, method.l1, method.group)
        self.losses: list[dict[str, float]] = []

    def run(self, about: Mapping[str, Any], progress: bool, name: str) -> None:
        """Iterate to the end, or until the loss runs away."""
        settings = self.training
        about = {**about, **asdict(settings), "sites": [s.site.path for s in self.live.sites]}
        for key in ("checkpoints", "every", "resume"):
            about.pop(key)
        if settings.checkpoints is not None:
            state = load_state(settings.checkpoints, about, settings.resume)
            if state is not None:
                self.descent.restore(state.tensors, state.iteration)
                self.losses = state.losses
        good = self._settled()
        with tqdm(
            total=settings.iterations, initial=self.descent.iteration, desc=f"train {name}", disable=not progress
        ) as bar:
            while self.descent.iteration < settings.iterations:
                now = self.descent.iteration
                terms = self._gradients(now)
                self._check(terms, good)
                self.losses.append({key: sum(sites.values()) / len(sites) for key, sites in terms.items()})
                good = self._settled()
                self.descent.step()
                bar.set_postfix({key: f"{value:.3g}" for key, value in self.losses[-1].items()}, refresh=False)
                bar.update()
                done = self.descent.iteration
                if settings.checkpoints is not None and (done % settings.every == 0 or done == settings.iterations):
                    save_state(settings.checkpoints, about, done, self.descent.state(), self.losses)
        self._settled()

    def _gradients(self, iteration: int) -> dict[str, dict[str, float]]:
        """Accumulate the gradients of one iteration; give its terms by site."""
        generator = torch.Generator().manual_seed(self.seed + 7919 * iteration)  # the same after an interruption
        found: dict[str, dict[str, float]] = {}
        for _ in range(self.training.accumulate):
            terms = self._transport(*self._chosen("source", generator))
            if self.training.gates:
                terms |= self._kept(self._chosen("control", generator)[1])
            for name, sites in terms.items():
                own = found.setdefault(name, dict.fromkeys(sites, 0.0))
                for path, value in sites.items():
                    own[path] += value / self.training.accumulate
        return found

    def _chosen(self, group: str, generator: torch.Generator) -> tuple[int, CaughtCall]:
        """Choose a batch and one of its calls."""
        batch = int(torch.randint(len(self.calls[group]), (), generator=generator))
        call = int(torch.randint(len(self.calls[group][batch]), (), generator=generator))
        return batch, self.calls[group][batch][call]

    def _transport(self, batch: int, call: CaughtCall) -> dict[str, dict[str, float]]:
        """Let the distances of one call flow back."""
        self._set(detached=False)
        terms = {}
        for path, steered in self.live.run(call, steering=True).items():
            pooled = self._pooled(path, steered, batch, call)
            spread = self.units[path].spread
            terms[path] = wasserstein(pooled / spread, self.targets[path][call.step] / spread, self.p)
        return {"transport": self._backward(terms, 1.0)}

    def _kept(self, call: CaughtCall) -> dict[str, dict[str, float]]:
        """Let the change on one call of the control prompts flow back."""
        before = self.live.run(call, steering=False)
        self._set(detached=False)
        terms = {}
        for path, after in self.live.run(call, steering=True).items():
            change = (after.float() - before[path].float()) / self.control_units[path].spread
            terms[path] = call.about.pooled(change.square()).mean(dim=0)
        return {"control": self._backward(terms, self.training.gamma)}

    def _backward(self, terms: Mapping[str, Tensor], share: float) -> dict[str, float]:
        """Let a term flow back; give its mean at each site."""
        loss = normalised(list(terms.values())) * share / self.training.accumulate
        if loss.isfinite():  # else the check that follows ends the training
            loss.backward()
        return {path: term.mean().item() for path, term in terms.items()}

    def _check(self, terms: Mapping[str, Mapping[str, float]], good: dict[str, dict[str, Tensor]]) -> None:
        """End a training whose loss ran away."""
        first = self.losses[0] if self.losses else dict.fromkeys(terms, math.inf)
        for name, sites in terms.items():
            worst = max(sites, key=lambda path: sites[path] if math.isfinite(sites[path]) else math.inf)
            mean = sum(sites.values()) / len(sites)
            if math.isfinite(mean) and mean <= DIVERGED * max(first[name], 1.0):
                continue
            iteration = self.descent.iteration
            before = f" (it was {self.losses[-1][name]:.3g} before)" if self.losses else ""
            where = self.training.checkpoints
            raise DivergedError(
                f"The training diverged in iteration {iteration}: the {name} term is {mean:.3g}{before}, and "
                f"{sites[worst]:.3g} at {worst}. The maps of the iteration before are in this error's `state`"
                f"{f', the last checkpoint is in {where}' if where else ''}. Give a lower learning_rate (now "
                f"{self.training.learning_rate:g}), or leave that site out.",
                worst,
                iteration,
                good,
            )

    def _pooled_by_step(self, group: str) -> dict[str, dict[int, Tensor]]:
        """Pool what is unsteered: by site, by step, all prompts together."""
        found: dict[str, dict[int, list[Tensor]]] = {}
        for batch, calls in enumerate(self.calls[group]):
            for call in calls:
                for path, seen in self.live.run(call, steering=False).items():
                    found.setdefault(path, {}).setdefault(call.step, []).append(self._pooled(path, seen, batch, call))
        return {path: {step: torch.cat(parts) for step, parts in steps.items()} for path, steps in found.items()}

    def _pooled(
        self, path: str, seen: Float[Tensor, "rows positions channels"], batch: int, call: CaughtCall
    ) -> Float[Tensor, "rows channels"]:
        """Average over the picture, or over the concept's region, as it was found on the unsteered source picture."""
        if self.regions is None:
            return call.about.pooled(seen)
        key = path, batch, call.step
        if key not in self._shares:  # source comes first, unsteered
            self._shares[key] = self._share(path, seen.float(), batch, call)
        return torch.einsum("rp,rpc->rc", self._shares[key], seen.float())

    def _share(self, path: str, seen: Tensor, batch: int, call: CaughtCall) -> Float[Tensor, "rows positions"]:
        rows = cast(Tensor, self.regions)[batch * self.training.batch :][: len(seen)]
        share = on_grid(rows, call.about.grid_at(seen.shape[1])).flatten(1).to(seen.device)
        if path in self.cores:
            weight, threshold = (tensor.to(seen.device) for tensor in self.cores[path])
            core = share * (seen @ weight >= threshold)
            share = torch.where(core.any(dim=1, keepdim=True), core, share)  # all of it in pictures without a core
        share = torch.where(share.any(dim=1, keepdim=True), share, 1.0)  # where nothing was found, all of the picture
        return share / share.sum(dim=1, keepdim=True)

    def _control_units(self) -> dict[str, Units]:
        """Mean and spread of single positions of control pictures, each step having the same weight."""
        sums: dict[str, list[Any]] = {}
        for calls in self.calls["control"]:
            for call in calls:
                for path, seen in self.live.run(call, steering=False).items():
                    flat = call.about.flat(seen.float())
                    total = sums.setdefault(path, [0, 0.0, 0.0])
                    total[0] += len(flat)
                    total[1] = total[1] + flat.sum(0)
                    total[2] = total[2] + flat.square().sum(0)
        units = {}
        for path, (count, first, second) in sums.items():
            mean = first / count
            units[path] = Units(mean, float((second / count - mean.square()).clamp(min=0).mean()) ** 0.5 or 1.0)
        return units

    def _follow(self, module: Any, units: Units) -> None:
        leaves = {name: p.detach().clone().requires_grad_() for name, p in module.parameters_in(units).items()}
        self.following.append((module, leaves, units))

    def _parameters(self) -> list[Tensor]:
        return [p for _, leaves, _ in self.following for p in leaves.values()]

    def _set(self, detached: bool) -> None:
        """Let every map and gate follow its parameters as they are now."""
        for module, leaves, units in self.following:
            module.follow({name: p.detach().clone() if detached else p for name, p in leaves.items()}, units)

    def _settled(self) -> dict[str, dict[str, Tensor]]:
        """Put the parameters, without their gradients, into maps and gates; give copies of all buffers, by site."""
        self._set(detached=True)
        return {
            s.site.path: {
                f"{part}.{name}": tensor.clone()
                for part, module in (("method", s.method), ("gate", s.gate))
                for name, tensor in module.state_dict().items()
            }
            for s in self.live.sites
        }
