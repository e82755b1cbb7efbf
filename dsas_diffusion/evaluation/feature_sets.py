"""What distances of two sets of pictures share: their check of features."""

import torch

from ..errors import InputError


def check_sets(measure: str, features: torch.Tensor, references: torch.Tensor) -> None:
    """Refuse features that a distance of sets can't be told from.

    Args:
        measure: What it is called.
        features: (m, d), of m pictures.
        references: (n, d), of n other pictures.

    Raises:
        InputError: If a set has fewer than 2 rows, lengths differ, or a value is not finite.
    """
    for name, rows in (("features", features), ("references", references)):
        if rows.ndim != 2 or len(rows) < 2 or not bool(torch.isfinite(rows).all()):
            raise InputError(
                f"{name} is a tensor of shape {tuple(rows.shape)}; {measure} needs finite features (n, d) of 2 "
                "pictures or more. Add pictures, and flatten the features of each one to a row."
            )
    if features.shape[1] != references.shape[1]:
        raise InputError(
            f"features have the length {features.shape[1]} and references {references.shape[1]}. Take both with the "
            "same model."
        )
