"""Perplexity: how surprised a model is by a text, by all tokens together or as a mean over texts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from .base import Measure, share
from .likelihood import Likelihood

#: exp of more is no float64.
_LARGEST = 709.0


def perplexity(log_likelihood: float, tokens: int) -> float:
    """PPL = exp(−log-likelihood / tokens).

    Args:
        log_likelihood: Σ log p(token | tokens before) in nats, of a text or of many.
        tokens: How many tokens that is over.

    Returns:
        1 for a text that holds no surprise, the vocabulary's size for a model that knows nothing; infinite where
        float64 ends, and NaN without a token.

    Source: Jelinek and others, Perplexity, a measure of the difficulty of speech recognition tasks, 1977.
    """
    mean = -share(log_likelihood, tokens)
    return math.inf if mean > _LARGEST else math.exp(mean)


@dataclass
class Perplexity(Measure):
    """Perplexity of all tokens together: exp(−Σ log-likelihoods / Σ tokens), so that long texts count more."""

    higher_is_better: ClassVar[bool | None] = False

    log_likelihood: float = 0.0
    tokens: int = 0

    def update(self, told: Iterable[Likelihood]) -> None:
        """Take one batch of texts, as `text_log_likelihoods` or `continuation_log_likelihoods` gives them."""
        for each in told:
            self.log_likelihood += each.log_likelihood
            self.tokens += each.tokens

    def compute(self) -> float:
        return perplexity(self.log_likelihood, self.tokens)


@dataclass
class MeanPerplexity(Measure):
    """Mean over texts of each one's `perplexity`: what the papers give for sentences of an encyclopedia.

    One garbled text weighs as much in it as thousands of good ones; `Perplexity` is the calmer figure.

    Source: Rodriguez et al., LinEAS, arXiv 2503.10679, as its evaluation computes it.
    """

    higher_is_better: ClassVar[bool | None] = False

    total: float = 0.0
    texts: int = 0

    def update(self, told: Iterable[Likelihood]) -> None:
        """Take one batch of texts; see `Perplexity`."""
        for each in told:
            self.total += perplexity(each.log_likelihood, each.tokens)
            self.texts += 1

    def compute(self) -> float:
        return share(self.total, self.texts)
