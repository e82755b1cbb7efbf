"""Perplexity against its closed form and against the loss that Transformers computes itself."""

import math
import pickle

import pytest
import torch
from tiny_texts import model, tokenizer

from dsas_diffusion.evaluation.likelihood import Likelihood, text_log_likelihoods
from dsas_diffusion.evaluation.perplexity import MeanPerplexity, Perplexity, perplexity

TEXTS = ["you are kind", "the tree is very green today", "a fool"]


def test_closed_form():
    assert perplexity(3 * math.log(1 / 8), 3) == pytest.approx(8)
    assert perplexity(0.0, 5) == 1
    assert perplexity(-1e6, 2) == math.inf
    assert math.isnan(perplexity(0.0, 0))


def test_a_model_that_knows_nothing_is_as_perplexed_as_its_vocabulary_is_large():
    lm = model("llama")
    with torch.no_grad():
        lm.lm_head.weight.zero_()
    measure = Perplexity()
    measure.update(text_log_likelihoods(lm, tokenizer(), TEXTS))
    assert measure.compute() == pytest.approx(lm.config.vocab_size, rel=1e-5)


def test_against_the_loss_of_transformers():
    lm, words = model("mistral"), tokenizer()
    told = text_log_likelihoods(lm, words, TEXTS)
    losses, tokens = [], []
    for text in TEXTS:
        ids = torch.tensor([words(text)["input_ids"]])
        with torch.no_grad():
            losses.append(float(lm(input_ids=ids, labels=ids).loss))
        tokens.append(ids.shape[1] - 1)
    together, mean = Perplexity(), MeanPerplexity()
    for measure in (together, mean):
        measure.update(told)
    whole = sum(loss * count for loss, count in zip(losses, tokens, strict=True)) / sum(tokens)
    assert together.compute() == pytest.approx(math.exp(whole), rel=1e-5)
    assert mean.compute() == pytest.approx(sum(map(math.exp, losses)) / 3, rel=1e-5)


@pytest.mark.parametrize("kind", [Perplexity, MeanPerplexity])
def test_batches_and_processes_add_up(kind):
    told = [Likelihood(-3.0, 2), Likelihood(-1.0, 4), Likelihood(-8.0, 5)]
    whole, one, other = kind(), kind(), kind()
    assert math.isnan(whole.compute())
    whole.update(told)
    one.update(told[:1])
    other.update(told[1:])
    assert one.merge(pickle.loads(pickle.dumps(other))).compute() == pytest.approx(whole.compute())
    assert kind.higher_is_better is False
