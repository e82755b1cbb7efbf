"""The whitened rank-one map of MidSteer: the least change that takes the concept's mean to the target's."""

from typing import ClassVar

import torch
from jaxtyping import Float
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from ..errors import InputError
from .base import unit
from .excess import Excess, ExcessMap


class MidSteer(ExcessMap):
    """T(t) = t − ReLU(w · (t − μ)) d,  d = mean(source) − mean(target),  w = Σ⁻¹ d / (dᵀ Σ⁻¹ d),  μ = mean(target).

    w reads how far t has gone from the target's mean (0) to the source's (1), along the direction in which the two
    differ most against the spread Σ within them, as linear discriminant analysis does; `rank_one` reads along d itself,
    and so takes what only happens to lie along d for the concept. Without the ReLU it is LEACE: the affine map of least
    change, measured by Σ, after which no linear probe tells the two apart.

    The paper centres and whitens by tens of thousands of neutral prompts, apart from source and target. `fit` is handed
    no such set, so that the target's mean stands for the neutral one, for which the paper's switch from one concept to
    another is the same as its erasure; Σ is the covariance of both groups about their own means, shrunk by Ledoit and
    Wolf's rule, since there are fewer samples than channels. λ = 1 leaves no excess; λ = 2 turns it round, as the
    authors' own example does.

    References:
        MidSteer: Optimal Affine Framework for Steering Generative Models, arXiv 2605.05220, as its published code has
        the switch, clipped; LEACE: Perfect Linear Concept Erasure in Closed Form, arXiv 2306.03819.
    """

    name: ClassVar[str] = "midsteer"
    unit_strength: ClassVar[str] = "the source's mean goes to the target's; 2 turns it round"
    suits: ClassVar[str] = "As rank_one, where channels spread unevenly or vary together."

    def learned(self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]) -> Excess:
        """Give u = Σ⁻¹ d / (dᵀ Σ⁻¹ d), v = −d and c = u · μ.

        Args:
            source: Finite source activations.
            target: Finite target activations.

        Raises:
            InputError: If both means are the same, or no channel varies within either group.
        """
        before, after = source.double(), target.double()
        difference = before.mean(0) - after.mean(0)
        unit(difference)  # raises if there is none
        within = torch.cat([before - before.mean(0), after - after.mean(0)])
        if not within.any():
            raise InputError(
                "Source activations are all alike, and so are target activations, so that there is no covariance to "
                "whiten by. Give more prompts, or take method='rank_one', which needs none."
            )
        covariance, _ = ledoit_wolf(within.cpu().numpy(), assume_centered=True)
        whitened = torch.linalg.solve(torch.from_numpy(covariance).to(difference), difference)
        direction = whitened / (difference @ whitened)
        return Excess(direction.float(), -difference.float(), (after.mean(0) @ direction).float())
