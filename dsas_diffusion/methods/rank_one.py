"""The rank-one map of CASteer and MidSteer: erase, replace or clip the projection on the concept's direction."""

from typing import ClassVar, Literal, Self, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .base import SteeringMethod, finite, unit

Form = Literal["erase", "replace", "clip"]


class RankOne(SteeringMethod):
    """T(t) = t + ReLU(u · t − c) v,  u = d / |d|,  d = mean(source) − mean(target).

    `"erase"`: v = −u, c = 0: only what points towards the concept is taken away, where ablation takes both signs.
    `"replace"`: v = u' − u, c = 0, with u' the direction of the target's mean: as much is put in along the target.
    `"clip"`: v = −u, c the target's mean projection on u: what is above it is cut down to it.

    λ = 1 leaves no excess; λ = 2 turns it round, as CASteer does by default.

    Args:
        form: `"erase"`, `"replace"` or `"clip"`.

    Raises:
        InputError: If the form is unknown.

    References:
        CASteer: Steering Diffusion Models for Controllable Generation, arXiv 2503.09630 (erase, replace). `"clip"`
        takes its threshold from the target's mean, as the published code of MidSteer clips projections; which
        threshold is ours.
    """

    name: ClassVar[str] = "rank_one"
    unit_strength: ClassVar[str] = "no excess along the concept's direction is left; 2 turns it round"
    cost: ClassVar[str] = "2 d"
    suits: ClassVar[str] = "As ablation, where what points away from the concept must not be touched."
    direction: Tensor
    change: Tensor
    threshold: Tensor

    def __init__(self, form: Form = "erase") -> None:
        super().__init__()
        if form not in get_args(Form):
            raise InputError(f"form must be one of {', '.join(map(repr, get_args(Form)))}, but is {form!r}.")
        self.form = form
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; there is no direction."""
        self.register_buffer("direction", torch.zeros(channels))
        self.register_buffer("change", torch.zeros(channels))
        self.register_buffer("threshold", torch.tensor(0.0))
        return self

    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Learn the direction, and what goes in its place.

        Args:
            source: Source activations.
            target: Target activations.

        Raises:
            InputError: If an activation is not finite, or both means are the same.
        """
        before, after = finite("source", source).mean(0), finite("target", target).mean(0)
        direction = unit(before - after)
        threshold = torch.tensor(0.0)
        change = -direction
        if self.form == "replace":
            change = unit(after) - direction
        if self.form == "clip":
            threshold = after @ direction
        self.register_buffer("direction", direction)
        self.register_buffer("change", change)
        self.register_buffer("threshold", threshold)
        return self

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Move along the change by the excess."""
        t = activation.float()
        excess = (t @ self.direction - self.threshold).relu()
        return (t + excess.unsqueeze(-1) * self.change).to(activation.dtype)
