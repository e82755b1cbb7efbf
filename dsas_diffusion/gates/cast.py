"""CAST: one decision a prompt, by how similar the first activation is to a condition vector."""

from typing import ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from ..errors import InputError
from .base import Gate, Samples


class CastGate(Gate):
    """h = 1 if s > ϑ (or s < ϑ, as learned), else 0,  s = cos(t̄, tanh(c cᵀ t̄)),  c the first principal component.

    The decision is made on the first denoising step (text: on the prompt) and kept for the whole run, at every
    position: CAST knows prompts, not places. ϑ and its side are found by grid search for the best F1; the fit hands in
    first steps alone. The published code searches the layer too; here every site decides for itself and is weighted by
    accuracy.

    Args:
        grid: Thresholds to try, evenly between the smallest and the largest similarity, at least 2.

    Raises:
        InputError: If `grid` is below 2.

    References:
        Programming Refusal with Conditional Activation Steering, arXiv 2409.05907, section 3; the tanh, the centred PCA
        and the search as in its code.
    """

    name: ClassVar[str] = "cast"
    unit: ClassVar[str] = "prompt"
    cost: ClassVar[str] = "2 d, once a run"
    suits: ClassVar[str] = "Where whole prompts are to be steered or let through."
    condition: Tensor
    threshold: Tensor
    side: Tensor

    def __init__(self, grid: int = 200) -> None:
        super().__init__()
        if not isinstance(grid, int) or grid < 2:
            raise InputError(f"grid is {grid!r}, but at least 2 thresholds are to be tried. The default is 200.")
        self.grid = grid
        self.reset(0)

    def reset(self, channels: int) -> Self:
        """Take the shape of a site; the condition is never met."""
        self.register_buffer("condition", torch.zeros(channels))
        self.register_buffer("threshold", torch.tensor(torch.inf))
        self.register_buffer("side", torch.tensor(1.0))
        return self

    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn the condition vector and search its threshold.

        Args:
            source: Samples that show the concept.
            control: Samples that don't.
        """
        shown, other = source.pooled.float(), control.pooled.float()
        both = torch.cat([shown, other])
        centred = both - (shown.mean(0) + other.mean(0)) / 2
        condition = PCA(1, svd_solver="full").fit(centred.double().numpy()).components_[0]
        self.register_buffer("condition", torch.tensor(condition, dtype=torch.float32))
        similarity = self.similarity(both).double().numpy()
        y = np.repeat([1, 0], [len(shown), len(other)])
        thresholds = np.linspace(similarity.min(), similarity.max(), self.grid)
        sides = np.array([1.0, -1.0])
        met = sides[:, None] * (similarity - thresholds[:, None, None]) > 0  # (grid, sides, samples)
        hits = (met & (y == 1)).sum(axis=-1)
        f1 = 2 * hits / (met.sum(axis=-1) + y.sum())
        best, side = np.unravel_index(f1.argmax(), f1.shape)  # the first of equals
        self.register_buffer("threshold", torch.tensor(thresholds[best], dtype=torch.float32))
        self.register_buffer("side", torch.tensor(sides[side], dtype=torch.float32))
        return self

    def similarity(self, pooled: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch"]:
        """Give s of averaged activations, in [−1, 1]."""
        t = pooled.float()
        projected = torch.tanh((t @ self.condition).unsqueeze(-1) * self.condition)
        return torch.nn.functional.cosine_similarity(t, projected, dim=-1)

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give 1 at every position of a picture that meets the condition, else 0."""
        met = self.side * (self.similarity(activation.float().mean(1)) - self.threshold) > 0
        return met.float()[:, None].expand(activation.shape[:2])
