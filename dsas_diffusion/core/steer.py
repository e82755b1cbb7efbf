"""The one operation: lerp(t, T(t), λ·s·h(t))."""

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
