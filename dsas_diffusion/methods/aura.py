"""AurA: dampen each channel by how well it tells source from target."""

from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.ranking import auroc
from .base import SteeringMethod, finite


class AurA(SteeringMethod):
    """T(t) = α ⊙ t,  α = 1 − 2 (A − ½) where A > ½, else 1,  A the AUROC of a channel for source against target.

    λ = 1 silences a channel that tells them apart without a mistake. More turns its sign.

    The paper takes the maximum over a sentence's tokens and dampens neurons of MLPs. Here the activations are what
    `fit` hands in, at any site; that is ours.

    References:
        Whispering Experts: Neural Interventions for Toxicity Mitigation in Language Models, arXiv 2407.12824,
        section 3.
    """

    name: ClassVar[str] = "aura"
    unit_strength: ClassVar[str] = "a channel that tells source from target perfectly is silent; more turns its sign"
    cost: ClassVar[str] = "d multiplications"
    suits: ClassVar[str] = "Where single channels carry the concept, as neurons of MLPs do; no direction is added."
    damping: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; nothing is dampened."""
        self.register_buffer("damping", torch.ones(channels))
        return self

    def fit(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Self:
        """Measure every channel's AUROC.

        Args:
            source: Source activations (label 1).
            target: Target activations (label 0).

        Raises:
            InputError: If an activation is not finite.
        """
        shown, other = finite("source", source), finite("target", target)
        self.register_buffer("damping", (1 - 2 * (auroc(shown, other) - 0.5).clamp(min=0)).float())
        return self

    def forward(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "... channels"]:
        """Scale each channel by its damping."""
        return (activation.float() * self.damping).to(activation.dtype)
