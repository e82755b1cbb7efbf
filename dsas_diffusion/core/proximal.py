"""The proximal operator of the sparse group lasso."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

#: Halvings of the interval in which a group's norm lies: to the last digit of a float64.
_HALVINGS: Final = 60


def sparse_group_prox(
    values: Float[Tensor, "channels"], metric: Float[Tensor, "channels"], l1: float, group: float
) -> Float[Tensor, "channels"]:
    """Give argmin over y of ½ Σ h (y − x)² + l₁ ‖y‖₁ + g √d ‖y‖₂, h being the metric.

    z = sign(x) · max(0, |x| − l₁ / h);  y = 0 where ‖h z‖ ≤ g √d, else y = h z s / (h s + g √d) with s = ‖y‖

    After a gradient step of size τ the metric is 1 / τ, and y is z shrunk to (1 − τ g √d / ‖z‖) z, as in the paper.
    After a step whose size differs from value to value, such as Adam's, it is the inverse of each size.

    Args:
        values: x, one group of d values.
        metric: h > 0.
        l1: l₁ ≥ 0.
        group: g ≥ 0; with √d groups of any size are treated alike.

    References:
        Rodriguez et al., LinEAS, arXiv 2503.10679, algorithm 1; for the metric Yun et al., Adaptive Proximal Gradient
        Methods for Structured Neural Networks, NeurIPS 2021, section 3.
    """
    z = values.sign() * (values.abs() - l1 / metric).clamp(min=0)
    threshold, pull = group * len(values) ** 0.5, metric * z
    if not threshold:
        return z
    low, high = torch.zeros_like(z[0]), z.norm()
    for _ in range(_HALVINGS):  # Σ (h z / (h s + g √d))² falls with s, and is 1 at the norm
        middle = (low + high) / 2
        above = (pull / (metric * middle + threshold)).square().sum() > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    norm = (low + high) / 2
    return torch.where(pull.norm() > threshold, pull * norm / (metric * norm + threshold), torch.zeros_like(z))
