"""What the measures on pixels share: their check of pictures and twins, and luminance."""

import torch

from ..errors import InputError

REC_601 = (0.299, 0.587, 0.114)


def check_twins(images: torch.Tensor, twins: torch.Tensor) -> None:
    """Refuse pictures that can't be compared pixel by pixel.

    Args:
        images: (n, channels, height, width) floats in [0, 1].
        twins: The same shape; each the same prompt and seed drawn another way.

    Raises:
        InputError: If shapes differ, values are not finite, or lie outside [0, 1].
    """
    if images.shape != twins.shape or images.ndim != 4:
        raise InputError(
            f"images and twins have the shapes {tuple(images.shape)} and {tuple(twins.shape)}; compared are two "
            "tensors of one shape (n, channels, height, width). Resize neither: generate both at the same size."
        )
    check_pixels("images", images)
    check_pixels("twins", twins)


def check_pixels(name: str, values: torch.Tensor) -> None:
    """Refuse values that are no floats in [0, 1].

    Args:
        name: What the message calls them.
        values: Any shape.

    Raises:
        InputError: If they are of another type, not finite, or outside [0, 1].
    """
    if not values.is_floating_point() or not bool(((values >= 0) & (values <= 1)).all()):
        raise InputError(f"{name} must be floats in [0, 1]. Divide 8-bit values by 255, clamp a decoder's output.")


def luminance(images: torch.Tensor) -> torch.Tensor:
    """Y = 0.299 R + 0.587 G + 0.114 B, on the values as they are stored.

    Args:
        images: (n, 3, height, width) floats in [0, 1].

    Returns:
        (n, height, width) float64 in [0, 1].

    Raises:
        InputError: If the pictures have another shape.

    Source: ITU-R Recommendation BT.601.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"images is a tensor of shape {tuple(images.shape)}; luminance is taken of RGB pictures "
            "(n, 3, height, width). Repeat a grey channel three times, leave a fourth channel out."
        )
    red, green, blue = (weight * images[:, i].double() for i, weight in enumerate(REC_601))
    return red + green + blue
