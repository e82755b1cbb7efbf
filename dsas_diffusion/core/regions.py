"""Where the concept is in a picture, read off twins: the same seed drawn with the concept and without."""

from typing import Final

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

#: Share of a picture that is taken for the concept.
REGION_SHARE: Final = 0.12


def twin_regions(
    source: Float[Tensor, "n channels h w"],
    target: Float[Tensor, "n channels h w"],
    share: float = REGION_SHARE,
    smoothing: int = 3,
) -> Bool[Tensor, "n h w"]:
    """Mark where twins differ most.

    The absolute difference is averaged over channels and over a square neighbourhood, and the top `share` of each
    picture's positions is taken. Rough, since whatever else the two prompts move is marked as well; enough to teach a
    gate, which sees many pictures. Ours.

    Args:
        source: Latents or pictures with the concept.
        target: Their twins without it, from the same seeds.
        share: Share of the positions to mark, in (0, 1).
        smoothing: Side of the neighbourhood in positions, odd.

    Returns:
        True where the concept is taken to be.
    """
    difference = (source.float() - target.float()).abs().mean(1, keepdim=True)
    difference = F.avg_pool2d(difference, smoothing, 1, smoothing // 2, count_include_pad=False).squeeze(1)
    threshold = difference.flatten(1).quantile(1 - share, dim=1)
    return difference > threshold[:, None, None]
