"""Expected calibration error of a gate: whether a score of 0.8 means the concept in 8 of 10 cases."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import InputError
from .base import Measure, share


def calibration_error(scores: torch.Tensor, shown: torch.Tensor, bins: int = 10) -> float:
    """ECE = Σ over bins of |B| / n · |share of B that shows the concept − mean score in B|.

    Bins are of equal width over [0, 1]; a score on a border belongs to the lower one. A gate that is always 0 or 1 and
    always right has 0, and so has one that says the concept's share of all samples everywhere: read it beside AUROC.

    Args:
        scores: (n,) of a gate, h in [0, 1].
        shown: (n,) bool, whether the sample is a source one.
        bins: How many.

    Returns:
        In [0, 1]; NaN without a sample.

    Raises:
        InputError: If shapes differ or a score is no number in [0, 1].

    Source: On Calibration of Modern Neural Networks, arXiv 1706.04599, equation 3, for the probability of one class.
    """
    measure = CalibrationError(bins)
    measure.update(scores, shown)
    return measure.compute()


@dataclass(eq=False)
class CalibrationError(Measure):
    """`calibration_error` over all samples.

    Args:
        bins: How many bins of equal width.
    """

    higher_is_better: ClassVar[bool | None] = False

    bins: int
    samples: torch.Tensor | float = 0.0
    scores: torch.Tensor | float = 0.0
    shown: torch.Tensor | float = 0.0

    def update(self, scores: torch.Tensor, shown: torch.Tensor) -> None:
        """Take one batch; see `calibration_error` for shapes and errors."""
        if scores.ndim != 1 or scores.shape != shown.shape or shown.dtype != torch.bool:
            raise InputError(
                f"scores is a tensor of shape {tuple(scores.shape)} and shown one of {tuple(shown.shape)} and type "
                f"{shown.dtype}; accepted are (n,) floats and (n,) bool. Average a gate over positions first, or "
                "flatten both."
            )
        if not bool(((scores >= 0) & (scores <= 1)).all()):
            raise InputError("A gate's scores must be in [0, 1]. Hand in h, not the logit behind it.")
        values = scores.detach().double().cpu()
        inner = torch.linspace(0, 1, self.bins + 1, dtype=torch.float64)[1:-1]
        places = torch.bucketize(values, inner)

        def sums(weights: torch.Tensor) -> torch.Tensor:
            return torch.zeros(self.bins, dtype=torch.float64).index_add(0, places, weights)

        self.samples = self.samples + sums(torch.ones_like(values))
        self.scores = self.scores + sums(values)
        self.shown = self.shown + sums(shown.cpu().double())

    def compute(self) -> float:
        total = float(torch.as_tensor(self.samples).sum())
        # |B| / n · |a / |B| − b / |B|| = |a − b| / n, in empty bins too.
        gaps = torch.as_tensor(self.shown - self.scores).abs()
        return share(float(gaps.sum()), total)
