"""Runs texts through a language model: padding, chat templates, batches, seeds, no trace left."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import InputError


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
    if chat:
        turns = [[{"role": "user", "content": text}] for text in texts]
        texts = [tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) for turn in turns]
    batch = tokenizer(
        list(texts),
        return_tensors="pt",
        padding=True,
        padding_side="left",
        return_token_type_ids=False,
        add_special_tokens=not chat,  # which a template has already
    )
    lengths, most = batch["attention_mask"].sum(1), context_of(model)
    for text, length in zip(texts, lengths.tolist(), strict=True):
        if not length or (most is not None and length > most):
            raise InputError(
                f"The text {text[:60]!r} has {length} tokens, but the model reads 1 to {most}. Shorten or split it, or "
                "leave it out."
            )
    return batch.to(model.device)


def check_tokenizer(model: PreTrainedModel, tokenizer: Any, chat: bool = False) -> None:
    """Refuse a tokenizer that texts can't be batched with.

    Args:
        model: The model.
        tokenizer: Its tokenizer, or `None`.
        chat: Whether a chat template is needed.

    Raises:
        InputError: If there is none, or it has no pad token or chat template.
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
    if chat and not tokenizer.chat_template:
        raise InputError(
            f"The tokenizer {type(tokenizer).__name__} has no chat template. Set tokenizer.chat_template, or leave "
            "chat out."
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
        InputError: As for :func:`tokenized`.
    """
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
    devices = [model.device] if model.device.type == "cuda" else []
    for number, start in enumerate(range(0, len(texts), batch_size)):
        batch = tokenized(model, tokenizer, texts[start : start + batch_size], chat)
        with torch.no_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(seed + number)
            made = continued.generate(**batch, pad_token_id=tokenizer.pad_token_id, **(generation or {}))
        yield batch["input_ids"], made
