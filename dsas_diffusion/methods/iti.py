"""Inference-time intervention: a unit direction, as long as activations spread along it."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.probe import folded_classifier
from .base import unit
from .shift import ShiftMap


class _Intervention(ShiftMap):
    """T(t) = t + σ u,  u a unit direction from source to target, σ the standard deviation of all projections on u."""

    unit_strength: ClassVar[str] = "one standard deviation of the projections (the paper's α); more extrapolates"

    @abstractmethod
    def direction(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> Float[Tensor, "channels"]:
        """Give what points from source to target, of any length.

        Args:
            source: Finite source activations.
            target: Finite target activations.
        """

    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> Float[Tensor, "channels"]:
        """Give the unit direction, as long as one standard deviation."""
        along = unit(self.direction(source, target))
        return (torch.cat([source, target]) @ along).std(correction=0) * along


class ITIMean(_Intervention):
    """T(t) = t + σ u,  u = v / |v|,  v = mean(target) − mean(source),  σ = std of all projections on u.

    At a site that is a whole module there is one direction. With `sites="attention-heads"` and `top_k` this is the
    paper's form: a direction u and a spread σ for each head, added to the best K heads alone.

    References:
        Inference-Time Intervention, arXiv 2306.03341, section 3 (mass mean shift, per head); per module as in
        arXiv 2410.23054.
    """

    name: ClassVar[str] = "iti_m"
    suits: ClassVar[str] = "As CAA, where λ should mean the same at sites of different scale."

    def direction(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> Float[Tensor, "channels"]:
        """Give the difference of means."""
        return target.mean(0) - source.mean(0)


class ITIClassifier(_Intervention):
    """T(t) = t + σ u,  u = w / |w|,  w of a logistic regression for target against source,  σ = std along u.

    At a site that is a whole module there is one direction. With `sites="attention-heads"` and `top_k` this is the
    paper's form: a direction u and a spread σ for each head, added to the best K heads alone.

    References:
        Inference-Time Intervention, arXiv 2306.03341, section 3 (probe weight direction, per head); per module as in
        arXiv 2503.10679.
    """

    name: ClassVar[str] = "iti_c"
    suits: ClassVar[str] = "Where the direction that tells best is wanted, not the one between the means."

    def direction(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> Float[Tensor, "channels"]:
        """Give the normal of the classifier's plane."""
        weight, _ = folded_classifier(target, source, source.shape[1])
        return weight
