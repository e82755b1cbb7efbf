"""Proximal gradient descent: SGD or Adam along a cosine, and a proximal step after each."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from ..errors import InputError
from .proximal import sparse_group_prox

Optimizer = Literal["adam", "sgd"]
#: The learning rate ends at this share of its start.
DAMPED: Final = 0.1


@dataclass(frozen=True)
class Descent:
    """Settings of a descent.

    Args:
        optimizer: `"sgd"`, plain gradient descent, quick since parameters are in units of the site; or `"adam"`,
            with a learning rate near 0.02.
        learning_rate: At the start, above 0; it falls along a cosine to a tenth.
        iterations: Gradient steps, at least 1.

    Raises:
        InputError: If a setting is out of range.
    """

    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.1
    iterations: int = 300

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(Optimizer):
            raise InputError(
                f"optimizer must be {' or '.join(map(repr, get_args(Optimizer)))}, but is {self.optimizer!r}."
            )
        if not 0 < self.learning_rate < math.inf or self.iterations < 1:
            raise InputError(
                f"learning_rate={self.learning_rate} must be a finite number above 0, and "
                f"iterations={self.iterations} at least 1. The defaults are 0.1 and 300."
            )


class ProximalDescent:
    """Minimises a smooth loss plus a sparse group lasso.

    After each step every penalised tensor takes a proximal one: what the loss pulls on by less than l₁ becomes exactly
    0. The metric is the inverse of each value's step size; with Adam that size differs from value to value, so that
    the published code's one threshold for all, the learning rate, would leave hardly any at 0.

    Args:
        settings: Of the descent.
        parameters: What is learned; leaves that require gradients.
        penalised: Those of them that the penalty pulls to 0, each one group.
        l1: l₁.
        group: g.

    References:
        Rodriguez et al., LinEAS, arXiv 2503.10679, algorithm 1.
    """

    def __init__(
        self,
        settings: Descent,
        parameters: Sequence[Tensor],
        penalised: Sequence[Tensor] = (),
        l1: float = 0.0,
        group: float = 0.0,
    ) -> None:
        self.settings, self.parameters, self.penalised = settings, list(parameters), list(penalised)
        self.l1, self.group = l1, group
        kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        self.optimizer = kinds[settings.optimizer](self.parameters, settings.learning_rate)
        self.iteration = 0

    def learning_rate(self) -> float:
        """Give the learning rate of the running iteration."""
        rest = 0.5 * (1 + math.cos(math.pi * self.iteration / self.settings.iterations))
        return self.settings.learning_rate * (DAMPED + (1 - DAMPED) * rest)

    def step(self) -> None:
        """Make one step along the gradients that were accumulated, then the proximal one, and clear the gradients."""
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.l1 or self.group:
            with torch.no_grad():
                for values in self.penalised:
                    values.copy_(sparse_group_prox(values, self._metric(values) / rate, self.l1, self.group))
        self.iteration += 1

    def _metric(self, values: Tensor) -> Tensor:
        """Give by how much the optimiser divides the gradient of each value."""
        if not isinstance(self.optimizer, torch.optim.Adam):
            return torch.ones_like(values)
        group, own = self.optimizer.param_groups[0], self.optimizer.state[values]
        unbiased = own["exp_avg_sq"] / (1 - group["betas"][1] ** own["step"])
        return unbiased.sqrt() + group["eps"]

    def state(self) -> dict[str, Tensor]:
        """Give parameters and the optimiser's own tensors, flat, for a file."""
        kept = {f"parameter.{i}": p.detach().clone() for i, p in enumerate(self.parameters)}
        for i, tensors in self.optimizer.state_dict()["state"].items():
            kept |= {f"{i}.{name}": value.clone() for name, value in tensors.items() if isinstance(value, Tensor)}
        return kept

    def restore(self, state: Mapping[str, Tensor], iteration: int) -> None:
        """Go on from a state.

        Args:
            state: As given by `state`.
            iteration: How many steps had been made.
        """
        own: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for key, value in state.items():
                first, name = key.split(".", 1)
                if first == "parameter":
                    self.parameters[int(name)].copy_(value)
                else:
                    own.setdefault(int(first), {})[name] = value
        described = self.optimizer.state_dict()
        self.optimizer.load_state_dict({**described, "state": own})
        self.iteration = iteration
