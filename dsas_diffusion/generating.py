"""A language model's `generate` with steering, for repositories whose `custom_generate` it is."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .hooks.calls import Tokens
from .hooks.steerer import Steerer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def steered_generate(
    model: "PreTrainedModel",
    steerer: Steerer | str | Path | None = None,
    steering_strength: float | Sequence[float] | None = None,
    steering_tokens: Tokens = "both",
    **arguments: Any,
) -> Any:
    """Generate with a steerer attached; afterwards the model is as it was.

    Args:
        model: The model that the steerer was fitted on.
        steerer: The steerer, or its folder or hub id.
        steering_strength: λ, for all texts or one per prompt of the batch; `None` for the steerer's own.
        steering_tokens: Which tokens to steer: the prompt's, those that continue it, or both.
        **arguments: As for the model's `generate`.

    Returns:
        What `generate` gives.

    Raises:
        InputError: If no steerer is given, or it can't be attached.
    """
    if steerer is None:
        raise InputError(
            "This generation steers, and no steerer was given. Hand one in as steerer=, a `Steerer`, its folder or its "
            "hub id; or call `generate` without custom_generate."
        )
    if not isinstance(steerer, Steerer):
        steerer = Steerer.from_pretrained(steerer)
    writer: Any = model
    # A model that was loaded from a repository with a custom_generate has that one in the place of its class's own.
    custom = vars(model).get("generate")
    replaced = isinstance(custom, functools.partial)
    if replaced:
        del writer.generate
    try:
        with steerer.attached(model, steering_strength, tokens=steering_tokens):
            return writer.generate(**arguments)
    finally:
        if replaced:
            writer.generate = custom
