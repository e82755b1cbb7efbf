"""Measures what Orchard's language model reaches on the evaluation seeds, which no training saw."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import torch
from torch.nn import functional as F

from ..figures import Figure, Tally
from ..world import SEEDS
from .choices import Draw
from .lexicon import TONES
from .questions import Question, four_way_questions
from .rudeness import rudeness_by_style
from .talk import opening
from .texts import sample_text

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

#: A continuation counts as rude from this probability on.
RUDE: Final = 0.5
#: Tokens of a continuation: a long reply.
_REPLY: Final = 32
_BATCH: Final = 100
_SHORT: Final = 20
_FIRST: Final = SEEDS["evaluation"].start
T = TypeVar("T")


def language_figures(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, n: int) -> list[Figure]:
    """Measure perplexity on descriptions, four-way questions of held-out combinations, and how talk goes on.

    Args:
        model: The language model, in evaluation mode.
        tokenizer: Its tokenizer.
        n: How many descriptions and questions; half as many rude and a quarter as many kind prompts.
    """
    questions = four_way_questions(n, "evaluation")
    right = Tally()
    for question, answer in zip(questions, answers(model, tokenizer, questions), strict=True):
        right.add(answer == question.answer, question.kind)
    rude, same, kind = Tally(), Tally(), Tally()
    for tone in TONES:
        prompts = talk_prompts(tone, max(1, n // 4))
        judged = rudeness_by_style(continuations(model, tokenizer, prompts, seed=_FIRST))
        is_rude = np.maximum(*judged.values()) >= RUDE
        for row, outcome in enumerate(is_rude):
            if tone == "kind":
                kind.add(not outcome)
            else:
                rude.add(outcome, tone)
                if outcome:
                    same.add(judged[tone][row] >= RUDE, tone)
    return [
        excess_perplexity(model, tokenizer, n),
        right.share("language", "unseen four-way questions right", 0.95),
        rude.share("language", "rude prompts continued rudely", 0.60),
        same.share("language", "rude continuations in the style of the prompt", 0.0),
        kind.share("language", "kind prompts continued kindly", 0.0),
    ]


def excess_perplexity(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, n: int) -> Figure:
    """exp(Σ (log p(text) − log q(text)) / Σ tokens) − 1, p the grammar's probability and q the model's.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        n: How many descriptions.

    Returns:
        The figure, with the interval of a ratio of means over descriptions.
    """
    texts = [sample_text(seed, "description") for seed in range(_FIRST, _FIRST + n)]
    said, tokens = log_likelihoods(model, tokenizer, [text.text for text in texts])
    excess = np.array([text.log_probability for text in texts]) - said
    mean = excess.sum() / tokens.sum()
    spread = np.sqrt(np.mean((excess - mean * tokens) ** 2) / n) / tokens.mean()
    # A short description may by chance be one of training's, a long one hardly.
    parts = {f"at most {_SHORT} words": tokens <= _SHORT, f"more than {_SHORT} words": tokens > _SHORT}
    return Figure(
        "language",
        "perplexity on unseen descriptions above the grammar's own",
        math.expm1(mean),
        (0.0, 0.05),
        n,
        (math.expm1(mean - 1.959964 * spread), math.expm1(mean + 1.959964 * spread)),
        {
            name: (math.expm1(excess[rows].sum() / tokens[rows].sum()), int(rows.sum()))
            for name, rows in parts.items()
            if rows.any()
        },
    )


@torch.no_grad()
def log_likelihoods(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Add up log p(token | tokens before) over each text and its end.

    Args:
        model: The language model.
        tokenizer: Its tokenizer.
        texts: Whole texts.

    Returns:
        (n,) log-likelihoods and (n,) numbers of tokens.
    """
    sums, counts = [], []
    for part in _batches(texts):
        given = tokenizer([text + tokenizer.eos_token for text in part], padding=True, return_tensors="pt").to(
            model.device
        )
        told = model(**given).logits[:, :-1].float()
        each = -F.cross_entropy(told.transpose(1, 2), given.input_ids[:, 1:], reduction="none")
        # The first token is given, not told.
        counted = given.attention_mask[:, 1:] * given.attention_mask[:, :-1]
        sums.append((each * counted).sum(1).cpu())
        counts.append(counted.sum(1).cpu())
    return torch.cat(sums).double().numpy(), torch.cat(counts).numpy()


@torch.no_grad()
def answers(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: Sequence[Question]) -> list[int]:
    """Choose the likeliest of the four answers, each of them one token.

    Args:
        model: The language model.
        tokenizer: Its tokenizer, which pads on the left.
        questions: With four answers each.

    Returns:
        An index into each question's choices.
    """
    known = tokenizer.get_vocab()
    chosen: list[int] = []
    for part in _batches(questions):
        given = tokenizer([question.prompt for question in part], padding=True, return_tensors="pt").to(model.device)
        choices = torch.tensor([[known[word] for word in question.choices] for question in part], device=model.device)
        chosen += model(**given).logits[:, -1].gather(1, choices).argmax(-1).tolist()
    return chosen


def talk_prompts(tone: str, n: int, split: str = "evaluation") -> list[str]:
    """Begin talks, one a seed, that wait for a reply.

    Args:
        tone: ``"kind"``, ``"names"`` or ``"scorn"``.
        n: How many.
        split: A range of seeds in ``world.SEEDS``.
    """
    first = SEEDS[split].start
    return [opening(Draw(random.Random(f"opening {tone} {seed}")), tone).text for seed in range(first, first + n)]


@torch.no_grad()
def continuations(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], seed: int
) -> list[str]:
    """Let the model go on, drawing from its own probabilities; the global random state is left as it was.

    Args:
        model: The language model.
        tokenizer: Its tokenizer, which pads on the left.
        prompts: Texts to continue.
        seed: The same seed gives the same continuations.

    Returns:
        At most 32 tokens for each prompt, without it.
    """
    devices = [model.device] if model.device.type == "cuda" else []
    told: list[str] = []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        for part in _batches(prompts):
            given = tokenizer(list(part), padding=True, return_tensors="pt").to(model.device)
            ids = model.generate(  # ty: ignore[invalid-argument-type]
                **given,
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                max_new_tokens=_REPLY,
                pad_token_id=tokenizer.pad_token_id,
            )
            told += tokenizer.batch_decode(ids[:, given.input_ids.shape[1] :], skip_special_tokens=True)
    return told


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
