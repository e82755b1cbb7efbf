"""The one operation: lerp(t, T(t), λ·s·h(t))."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def steer(
    activation: Float[Tensor, "batch positions channels"],
    moved: Float[Tensor, "batch positions channels"],
    weight: Float[Tensor, "batch positions"],
) -> Float[Tensor, "batch positions channels"]:
    """Blend activations with their steered versions.

    t' = (1 − w) · t + w · T(t), w = λ · s · h(t)

    A weight of 0 returns the activation bit for bit, a weight of 1 the map's output; weights above 1 extrapolate.

    Args:
        activation: t.
        moved: T(t), the steering method's full change applied.
        weight: w per position: strength times site weight times gate score.

    Returns:
        t', in the activation's dtype. Half precision is blended in float32.

    References:
        Dynamically Scaled Activation Steering, arXiv 2512.03661, section 3: t' = (1 − h) t + h T(t; λ). With
        T(t; λ) = t + λ (T(t) − t) the strength moves into the weight, and the map never sees it.
    """
    blended = torch.lerp(activation.float(), moved.float(), weight.float().unsqueeze(-1))
    return blended.to(activation.dtype)


def added(
    activation: Float[Tensor, "batch positions channels"],
    moved: Sequence[Float[Tensor, "batch positions channels"]],
    max_change: float | None = None,
) -> Float[Tensor, "batch positions channels"]:
    """Add the changes of several concepts, each of which saw the activation as it was.

    t' = t + c · Σ (tᵢ' − t),  c = min(1, max_change · |t| / |Σ (tᵢ' − t)|) at each position. Ours.

    Args:
        activation: t.
        moved: tᵢ', one a concept, at least one.
        max_change: The longest change as a share of |t|, above 0; `None` for no limit.

    Returns:
        t', in the activation's dtype; a single concept's own t' bit for bit where there is no limit.
    """
    if len(moved) == 1 and max_change is None:
        return moved[0]
    t = activation.float()
    change = torch.stack([one.float() - t for one in moved]).sum(0)
    if max_change is not None:
        length = change.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(change.dtype).tiny)
        change = change * (max_change * t.norm(dim=-1, keepdim=True) / length).clamp(max=1.0)
    return (t + change).to(activation.dtype)
