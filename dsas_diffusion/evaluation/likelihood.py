"""Log-likelihoods of texts under a causal language model: padding, the first token and long texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..backends.language import check_tokenizer, context_of
from ..errors import InputError


@dataclass(frozen=True)
class Likelihood:
    """What a model says of one text.

    Args:
        log_likelihood: Σ log p(token | tokens before) over the tokens that count, in nats.
        tokens: How many tokens count; at least 1.
    """

    log_likelihood: float
    tokens: int


@dataclass(frozen=True)
class Encoded:
    """A text as a model reads it.

    Args:
        tokens: Token ids, those that the tokenizer adds included.
        first: The first token that counts; at least 1, since nothing tells the token that stands first.
    """

    tokens: list[int]
    first: int


def token_log_likelihoods(logits: Tensor, tokens: Tensor) -> Tensor:
    """Token i has log p(tokenᵢ | tokens before) = log softmax(logitsᵢ₋₁)[tokenᵢ].

    Args:
        logits: (tokens, vocabulary), of any floating type.
        tokens: (tokens,) ids.

    Returns:
        (tokens − 1,) float64 for all but the first token. The softmax is computed in float32.
    """
    return -F.cross_entropy(logits[:-1].float(), tokens[1:], reduction="none").double()


def text_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    batch_size: int = 16,
    stride: int | None = None,
) -> list[Likelihood]:
    """Add up log p(token | tokens before) over each text.

    The first token of a text is given, not told: the beginning token where the tokenizer adds one, else the first of
    the text. A text's end counts where its tokens say so, that is, if you or the tokenizer append the end token.

    Args:
        model: A causal language model. A steerer that is attached steers it, but for one whose tokens are the
            continuation's: outside of `generate` all of a text is prompt.
        tokenizer: Its tokenizer.
        texts: The texts.
        batch_size: Texts at a time.
        stride: How a text longer than the model reads is taken: in windows as long as the context, each a stride of
            so many tokens further than the last, and each token told once, by the first window that holds it. `None`
            refuses such a text.

    Returns:
        One a text.

    Raises:
        InputError: If there is no tokenizer or pad token, the model is no causal one, a text is too short or too long,
            or what the model says is not finite.

    Source: Transformers' guide on the perplexity of fixed-length models, for the windows.
    """
    return score(model, tokenizer, encode_texts(model, tokenizer, texts, stride), batch_size=batch_size, stride=stride)


def continuation_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[str],
    continuations: Sequence[str],
    *,
    batch_size: int = 16,
    stride: int | None = None,
) -> list[Likelihood]:
    """Add up log p(token | prompt, tokens before) over each continuation; its prompt is read, but doesn't count.

    Both are joined before they become tokens, so begin a continuation with a space where one belongs. What counts
    begins with the first token that the prompt alone would not have had.

    Args:
        model: As for :func:`text_log_likelihoods`.
        tokenizer: Its tokenizer.
        prompts: n texts.
        continuations: Their n continuations.
        batch_size: Texts at a time.
        stride: As for :func:`text_log_likelihoods`.

    Returns:
        One a continuation.

    Raises:
        InputError: As for :func:`text_log_likelihoods`; or if a continuation is empty.
    """
    encoded = encode_continuations(model, tokenizer, prompts, continuations, stride)
    return score(model, tokenizer, encoded, batch_size=batch_size, stride=stride)


def encode_texts(
    model: PreTrainedModel, tokenizer: Any, texts: Sequence[str], stride: int | None = None
) -> list[Encoded]:
    """Turn texts into tokens and refuse those that can't be told; see :func:`text_log_likelihoods`.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        texts: The texts.
        stride: As for :func:`text_log_likelihoods`.

    Raises:
        InputError: As there.
    """
    _check(model, tokenizer, stride)
    encoded = [Encoded(ids, 1) for ids in _ids(tokenizer, texts)]
    for text, each in zip(texts, encoded, strict=True):
        if len(each.tokens) < 2:
            raise InputError(
                f"The text {text[:60]!r} has {len(each.tokens)} tokens, and the first is given, not told, so it has no "
                "perplexity. Leave it out, or write more."
            )
        _check_length(model, text, len(each.tokens), stride)
    return encoded


def encode_continuations(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[str],
    continuations: Sequence[str],
    stride: int | None = None,
) -> list[Encoded]:
    """Turn prompts and their continuations into tokens; see :func:`continuation_log_likelihoods`.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        prompts: n texts.
        continuations: Their n continuations.
        stride: As for :func:`text_log_likelihoods`.

    Raises:
        InputError: As there.
    """
    _check(model, tokenizer, stride)
    wholes = [prompt + continuation for prompt, continuation in zip(prompts, continuations, strict=True)]
    encoded = []
    for prompt, text, given, whole in zip(
        prompts, continuations, _ids(tokenizer, prompts), _ids(tokenizer, wholes), strict=True
    ):
        shared = next((i for i, (a, b) in enumerate(zip(given, whole, strict=False)) if a != b), len(given))
        first = max(1, shared)
        if not text or len(whole) <= first:
            raise InputError(
                f"The continuation {text!r} of {prompt[-60:]!r} is empty: it adds no token that a model could tell. "
                "Leave it out, or generate at least one token (min_new_tokens)."
            )
        _check_length(model, prompt + text, len(whole), stride)
        encoded.append(Encoded(whole, first))
    return encoded


def score(
    model: PreTrainedModel,
    tokenizer: Any,
    encoded: Sequence[Encoded],
    *,
    batch_size: int = 16,
    stride: int | None = None,
) -> list[Likelihood]:
    """Run encoded texts through a model.

    Args:
        model: The model.
        tokenizer: Its tokenizer, of which the pad token is used; batches are padded on the right.
        encoded: The texts.
        batch_size: Texts, or windows of them, at a time.
        stride: As for :func:`text_log_likelihoods`.

    Returns:
        One a text.

    Raises:
        InputError: If a batch size is not positive, or what the model says is not finite.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}, but must be 1 or more.")
    context = context_of(model)
    windows = [(row, *window) for row, each in enumerate(encoded) for window in _windows(each, context, stride)]
    sums, counts = [0.0] * len(encoded), [0] * len(encoded)
    for start in range(0, len(windows), batch_size):
        part = windows[start : start + batch_size]
        for (row, begin, end, first), told in zip(part, _told(model, tokenizer, encoded, part), strict=True):
            counted = told[first - begin - 1 : end - begin - 1]
            sums[row] += float(counted.sum())
            counts[row] += len(counted)
    for number, (total, each) in enumerate(zip(sums, encoded, strict=True)):
        if not abs(total) < float("inf"):
            raise InputError(
                f"The log-likelihood of text {number} of the batch, with {len(each.tokens)} tokens, is {total}: the "
                "model's logits are not finite. Load it in float32 or bfloat16, or steer less."
            )
    return [Likelihood(total, count) for total, count in zip(sums, counts, strict=True)]


@torch.no_grad()
def _told(
    model: PreTrainedModel, tokenizer: Any, encoded: Sequence[Encoded], part: Sequence[tuple[int, int, int, int]]
) -> Iterator[Tensor]:
    """Give each window's log-likelihoods of all tokens but its first."""
    rows = [torch.tensor(encoded[row].tokens[begin:end]) for row, begin, end, _ in part]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    called: Any = model
    logits = called(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
    for row, told in zip(rows, logits, strict=True):
        yield token_log_likelihoods(told[: len(row)], row.to(told.device)).cpu()


def _windows(text: Encoded, context: int | None, stride: int | None) -> Iterator[tuple[int, int, int]]:
    """Give begin, end and first token that counts of each window."""
    length, first, begin = len(text.tokens), text.first, 0
    if context is None or stride is None or length <= context:
        yield 0, length, first
        return
    while first < length:
        end = min(begin + context, length)
        if end > first:
            yield begin, end, first
            first = end
        begin += stride


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return [tokenizer(text, verbose=False)["input_ids"] for text in texts]


def _check(model: PreTrainedModel, tokenizer: Any, stride: int | None) -> None:
    check_tokenizer(model, tokenizer)
    if model.config.is_encoder_decoder or not model.can_generate():
        raise InputError(
            f"A {type(model).__name__} tells no token from those before it. Perplexity needs a causal language model, "
            "as `AutoModelForCausalLM` loads it."
        )
    context = context_of(model)
    if stride is not None and not 1 <= stride < (context or stride + 1):
        raise InputError(
            f"stride is {stride}, but the model reads {context} tokens, and windows must overlap: accepted are 1 to "
            f"{context and context - 1}; half of the context is what most take."
        )


def _check_length(model: PreTrainedModel, text: str, length: int, stride: int | None) -> None:
    context = context_of(model)
    if stride is None and context is not None and length > context:
        raise InputError(
            f"The text {text[:60]!r} has {length} tokens, but the model reads 1 to {context}. Shorten or split it, or "
            "give a stride to read it in overlapping windows."
        )
