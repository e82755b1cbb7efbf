"""The rank-one map of CASteer and MidSteer: erase, replace or clip the projection on the concept's direction."""

from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .base import unit
from .excess import Excess, ExcessMap

Form = Literal["erase", "replace", "clip"]


class RankOne(ExcessMap):
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
    suits: ClassVar[str] = "As ablation, where what points away from the concept must not be touched."

    def __init__(self, form: Form = "erase") -> None:
        super().__init__()
        if form not in get_args(Form):
            raise InputError(f"form must be one of {', '.join(map(repr, get_args(Form)))}, but is {form!r}.")
        self.form = form

    def learned(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Excess:
        after = target.mean(0)
        direction = unit(source.mean(0) - after)
        change = unit(after) - direction if self.form == "replace" else -direction
        return Excess(direction, change, after @ direction if self.form == "clip" else torch.tensor(0.0))
