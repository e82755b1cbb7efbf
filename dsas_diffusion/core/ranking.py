"""How well a score ranks one set above another, and how far the two overlap on it."""

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


def overlap(shown: Float[Tensor, "n channels"], other: Float[Tensor, "m channels"]) -> Float[Tensor, "channels"]:
    """Give the overlap of two sets on each channel as a score.

    1 − max over θ of |F(θ) − G(θ)|, with F and G the shares of `shown` and of `other` at or below θ: the smallest sum
    of both kinds of mistake that any threshold leaves. Where the densities cross once it is the area that they share.
    The DSAS paper's own definition is not known; this one is Weitzman's overlapping coefficient, by Kolmogorov and
    Smirnov's statistic.

    Args:
        shown: Finite values, n ≥ 1.
        other: Finite values, m ≥ 1.

    Returns:
        (channels,), float64, in [0, 1]; 0 where a threshold parts the sets, 1 where they are spread alike.

    References:
        Inman and Bradley, The overlapping coefficient as a measure of agreement between probability distributions,
        Communications in Statistics 18 (1989).
    """
    ordered = [values.T.contiguous().sort(dim=1).values for values in (shown, other)]
    at = torch.cat(ordered, dim=1)
    first, second = (torch.searchsorted(each, at, right=True).double() / each.shape[1] for each in ordered)
    return 1 - (first - second).abs().amax(dim=1)
