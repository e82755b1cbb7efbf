"""Runs texts through a language model: padding, chat templates, batches, seeds, no trace left."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import InputError
from ..hooks.language import device_of_inputs


def tokenized(model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], chat: bool = False) -> Any:
    """Turn texts into a batch for a model, padded on the left, on the model's device.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: The texts.
        chat: Put each into the tokenizer's chat template, as a user's message that waits for an answer.

    Returns:
        What the model takes: `input_ids` and `attention_mask`, (texts, tokens).

    Raises:
        InputError: If there is no tokenizer, it has no pad token or no chat template, or a text is empty or longer than
            the model reads.
    """
    check_tokenizer(model, tokenizer, chat)
    batch = tokenizer(
        _templated(tokenizer, texts, chat),
        return_tensors="pt",
        padding=True,
        padding_side="left",
        return_token_type_ids=False,
        add_special_tokens=not chat,  # which a template has already
    )
    _check_lengths(model, texts, batch["attention_mask"].sum(1).tolist(), 0)
    return batch.to(device_of_inputs(model))


def check_texts(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str],
    chat: bool = False,
    generation: Mapping[str, Any] | None = None,
) -> None:
    """Refuse texts that a model can't read, or not continue as far as is asked, before any is run.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: The texts.
        chat: As for :func:`tokenized`.
        generation: Arguments of the model's `generate`, if it is to continue them.

    Raises:
        InputError: As for :func:`tokenized`; or if a text leaves no room for `max_new_tokens`.
    """
    check_tokenizer(model, tokenizer, chat)
    found = tokenizer(_templated(tokenizer, texts, chat), add_special_tokens=not chat)["input_ids"]
    room = 0 if model.config.is_encoder_decoder else (generation or {}).get("max_new_tokens") or 0
    _check_lengths(model, texts, [len(ids) for ids in found], room)


def _templated(tokenizer: Any, texts: Sequence[str], chat: bool) -> list[str]:
    if not chat:
        return list(texts)
    turns = [[{"role": "user", "content": text}] for text in texts]
    return [tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) for turn in turns]


def _check_lengths(model: PreTrainedModel, texts: Sequence[str], lengths: Sequence[int], room: int) -> None:
    most = context_of(model)
    for text, length in zip(texts, lengths, strict=True):
        if not length or (most is not None and length > most):
            raise InputError(
                f"The text {text[:60]!r} has {length} tokens, but the model reads 1 to {most}. Shorten or split it, or "
                "leave it out."
            )
        if most is not None and length + room > most:
            raise InputError(
                f"The text {text[:60]!r} has {length} tokens and is to be continued by {room}, but the model reads "
                f"{most} at most. Ask for at most {most - length} with max_new_tokens, or shorten the text."
            )


def check_tokenizer(model: PreTrainedModel, tokenizer: Any, chat: bool = False) -> None:
    """Refuse a tokenizer that texts can't be batched with.

    Args:
        model: The model.
        tokenizer: Its tokenizer, or `None`.
        chat: Whether a chat template is needed.

    Raises:
        InputError: If there is none, it has no pad token or chat template, or it knows more tokens than the model.
    """
    name = type(model).__name__
    if tokenizer is None:
        raise InputError(
            f"A {name} reads tokens, and no tokenizer was given. Hand it in as tokenizer=, such as "
            "`AutoTokenizer.from_pretrained(...)` of the same repository."
        )
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"The tokenizer {type(tokenizer).__name__} has no pad token, so texts of different length can't be run "
            "together. Set one; `tokenizer.pad_token = tokenizer.eos_token` is what most do."
        )
    embeddings: Any = model.get_input_embeddings()
    known = embeddings.weight.shape[0]
    if len(tokenizer) > known:
        raise InputError(
            f"The tokenizer {type(tokenizer).__name__} has {len(tokenizer)} tokens, but this {name} knows {known}: it "
            "is another model's, or tokens were added to it. Load the model's own from the same repository, or call "
            "`model.resize_token_embeddings(len(tokenizer))` and train the new ones."
        )
    if chat and not tokenizer.chat_template:
        raise InputError(
            f"The tokenizer {type(tokenizer).__name__} has no chat template. Set tokenizer.chat_template, or leave "
            "chat out."
        )


def vocabulary_of(tokenizer: Any) -> str:
    """Give SHA-256 over a tokenizer's tokens and their numbers, by which it is known again.

    Args:
        tokenizer: The tokenizer.
    """
    return hashlib.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()


def check_vocabulary(tokenizer: Any, manifest: Mapping[str, Any]) -> None:
    """Refuse a tokenizer with another vocabulary than that of a steerer's fit.

    Args:
        tokenizer: The tokenizer.
        manifest: The steerer's.

    Raises:
        InputError: If it differs.
    """
    expected = manifest.get("text", {}).get("vocabulary")
    if expected is not None and vocabulary_of(tokenizer) != expected:
        raise InputError(
            f"The steerer {manifest['concept']['label']!r} was fitted with another vocabulary than that of this "
            f"{type(tokenizer).__name__}, so the same text is other tokens. Load the tokenizer that it was fitted "
            "with, or fit it again with this one."
        )


def context_of(model: PreTrainedModel) -> int | None:
    """Give the most tokens that a model reads; `None` where its configuration says nothing of it.

    Args:
        model: The model.
    """
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def read(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], *, batch_size: int = 16, chat: bool = False
) -> Iterator[Sequence[str]]:
    """Run texts through a model once, without generating; an encoder-decoder model's encoder alone.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: The texts.
        batch_size: Texts at a time.
        chat: As for :func:`tokenized`.

    Yields:
        The texts of each batch, once they have been read.

    Raises:
        InputError: As for :func:`tokenized`; or if a batch size is not positive.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, but must be 1 or more.")
    reader = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    for start in range(0, len(texts), batch_size):
        part = texts[start : start + batch_size]
        with torch.no_grad():
            reader(**tokenized(model, tokenizer, part, chat))
        yield part


def generate(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str],
    seed: int = 0,
    *,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
    chat: bool = False,
) -> Iterator[list[str]]:
    """Continue texts, a batch at a time.

    Sampling draws from a state of its own for each batch, so the same seed and batch size give the same texts with and
    without steering; the global random state is as it was.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: The texts.
        seed: Of the first batch; each has the next.
        batch_size: Texts at a time.
        generation: Arguments of the model's `generate`: `max_new_tokens`, `do_sample`, `temperature` …
        chat: As for :func:`tokenized`.

    Yields:
        The continuations of each batch, without the texts.

    Raises:
        InputError: As for :func:`tokenized`; or if the model can't generate, or a batch size is not positive.
    """
    for given, made in _generated(model, tokenizer, texts, seed, batch_size, generation, chat):
        yield tokenizer.batch_decode(made[:, _known(model, given) :], skip_special_tokens=True)


def continue_texts(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str],
    seed: int = 0,
    *,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
    chat: bool = False,
) -> Iterator[list[tuple[str, str]]]:
    """Continue texts as :func:`generate` does, and keep what stands between a text and its continuation.

    Args:
        model: As for :func:`generate`.
        tokenizer: As there.
        texts: As there.
        seed: As there.
        batch_size: As there.
        generation: As there.
        chat: As there.

    Yields:
        Of each batch, every text as the model read it and its continuation, which joined are what the model wrote: a
        space that belongs between them stands at the continuation's beginning. (An encoder-decoder model writes nothing
        but the continuation.)

    Raises:
        InputError: As for :func:`generate`.
    """
    for given, made in _generated(model, tokenizer, texts, seed, batch_size, generation, chat):
        known = _known(model, given)
        before = tokenizer.batch_decode(made[:, :known], skip_special_tokens=True)
        whole = tokenizer.batch_decode(made, skip_special_tokens=True)
        alone = tokenizer.batch_decode(made[:, known:], skip_special_tokens=True)
        yield [
            (text, both.removeprefix(text) if both.startswith(text) else after)
            for text, both, after in zip(before, whole, alone, strict=True)
        ]


def _known(model: PreTrainedModel, given: torch.Tensor) -> int:
    """How many tokens of what was made were given."""
    return 0 if model.config.is_encoder_decoder else given.shape[1]


def _generated(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str],
    seed: int,
    batch_size: int,
    generation: Mapping[str, Any] | None,
    chat: bool,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give the tokens of each batch and those of what was made of it."""
    continued: Any = model
    if not model.can_generate():
        raise InputError(
            f"A {type(model).__name__} generates no text. Load it with a language model's head, such as by "
            "`AutoModelForCausalLM`."
        )
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, but must be 1 or more.")
    check_texts(model, tokenizer, texts, chat, generation)
    device = device_of_inputs(model)
    devices = [device] if device.type == "cuda" else []
    for number, start in enumerate(range(0, len(texts), batch_size)):
        batch = tokenized(model, tokenizer, texts[start : start + batch_size], chat)
        with torch.no_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(seed + number)
            made = continued.generate(**batch, pad_token_id=tokenizer.pad_token_id, **(generation or {}))
        yield batch["input_ids"], made
