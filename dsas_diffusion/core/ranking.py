"""How well a score ranks one set above another."""

import torch
from jaxtyping import Float
from torch import Tensor


def auroc(shown: Float[Tensor, "n channels"], other: Float[Tensor, "m channels"]) -> Float[Tensor, "channels"]:
    """Give the area under the ROC curve of each channel as a score.

    The share of all pairs in which the value from `shown` is the larger one; ties count half (Mann and Whitney's U).

    Args:
        shown: Finite values of what should rank high, n ≥ 1.
        other: Finite values of what should rank low, m ≥ 1.

    Returns:
        (channels,), float64, in [0, 1]; 0.5 where a channel tells nothing.
    """
    ordered, values = other.T.contiguous().sort(dim=1).values, shown.T.contiguous()
    below = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    return below.double().mean(dim=1) / (2 * len(other))
