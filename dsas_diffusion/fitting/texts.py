"""Fitting on texts: what needs pictures is refused, and how a language model's texts were run is told."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..backends.language import check_texts, check_tokenizer, vocabulary_of
from ..errors import InputError
from ..gates.base import Gate
from ..hooks.calls import Tokens
from ..hooks.hosts import Host, LanguageHost
from ..methods.base import SteeringMethod
from ..prompt_set import FIT_GROUPS, PromptSet
from .training_loop import Training


def check_text(
    method: SteeringMethod, gate: Gate, map_from: str, training: Training | None, steps: Collection[int] | None
) -> None:
    """Refuse what needs pictures or denoising steps, for sites in text encoders and language models.

    Args:
        method: The map, unfitted.
        gate: The gate, unfitted.
        map_from: As for `fit`.
        training: As for `fit`.
        steps: As for `fit`.

    Raises:
        InputError: With the first setting that needs them.
    """
    if gate.sees_places:
        raise InputError(
            f"The gate {gate.name!r} learns places of a picture, but these sites hold tokens. Choose gate='logistic', "
            "which decides token by token, or another that sees no places."
        )
    if method.averages:
        raise InputError(
            f"This {method.name!r} map looks at the average over all positions (support='pooled'), but a text comes "
            "token by token, and beside padding. Choose support='positions' or 'none'."
        )
    if training is not None and training.gradient_checkpointing:
        raise InputError(
            "gradient_checkpointing is for denoisers; models of text are trained without. Leave it out, or give a "
            "smaller batch and accumulate more of them."
        )
    asked = [f"map_from={map_from!r}"] * (map_from in ("inside", "core")) + ["steps"] * (steps is not None)
    if asked:
        raise InputError(
            f"{asked[0]} chooses a part of the picture or of the schedule, but these sites hold texts, which have "
            "neither. Leave it out."
        )


def with_tokenizer(
    host: Host,
    tokenizer: Any,
    tokens: Tokens,
    chat: bool,
    sets: Sequence[PromptSet],
    generation: Mapping[str, Any] | None,
) -> Host:
    """Give a language model's host its tokenizer, checked on all texts that will be read; others take none."""
    if isinstance(host, LanguageHost):
        check_tokenizer(host.owner, tokenizer, chat)
        for name in ("num_return_sequences", "num_beams"):
            if ((generation or {}).get(name) or 1) != 1:
                raise InputError(
                    f"generation holds {name}={(generation or {})[name]!r}, but a fit learns from one continuation of "
                    "each prompt. Leave it out, or write each prompt several times in other words."
                )
        texts = [text for one in sets for group in FIT_GROUPS for text in one.texts(group)]
        check_texts(host.owner, tokenizer, texts, chat, None if tokens == "prompt" else generation)
        return LanguageHost(host.owner, tokenizer, tokens, chat)
    if tokenizer is not None or chat:
        raise InputError(
            f"tokenizer and chat are for language models, but this is a {type(host.owner).__name__}, which turns its "
            "prompts into tokens by itself. Leave them out."
        )
    return host


def how_texts_ran(host: Host) -> dict[str, Any]:
    """Say how a language model's texts were run."""
    if not isinstance(host, LanguageHost):
        return {}
    told = {"tokens": host.tokens, "chat": host.chat, "vocabulary": vocabulary_of(host.tokenizer)}
    return {"text": told}
