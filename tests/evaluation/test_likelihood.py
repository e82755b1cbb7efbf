"""Log-likelihoods against a loop over single texts, token by token, without padding."""

import math

import numpy as np
import pytest
import torch
from tiny_texts import DECODERS, model, rudeness, tokenizer

import dsas_diffusion as dsas
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.likelihood import (
    continuation_log_likelihoods,
    text_log_likelihoods,
    token_log_likelihoods,
)

TEXTS = ["you are kind", "the tree is very green today", "a fool", "it is it is it is the house"]


def one_by_one(lm, ids: list[int], first: int = 1) -> float:
    """Σ log p, each token from a run of its own over nothing but the tokens before."""
    total = 0.0
    with torch.no_grad():
        for place in range(first, len(ids)):
            logits = lm(input_ids=torch.tensor([ids[:place]])).logits[0, -1].double()
            total += float(logits[ids[place]] - logits.logsumexp(0))
    return total


def test_tokens_against_a_closed_form():
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0], [5.0, 9.0]])
    found = token_log_likelihoods(logits, torch.tensor([0, 1, 0]))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([math.log(3 / 4), math.log(1 / 2)])
    half = token_log_likelihoods(logits.half() * 100, torch.tensor([0, 0, 0]))
    assert half[0] == pytest.approx(-109.86, abs=0.1)  # the softmax is taken in float32


@pytest.mark.parametrize("family", DECODERS)
def test_each_text_is_told_as_if_it_were_alone(family):
    lm, words = model(family), tokenizer()
    found = text_log_likelihoods(lm, words, TEXTS, batch_size=3)
    assert [each.tokens for each in found] == [len(text.split()) for text in TEXTS]  # the beginning token is given
    expected = [one_by_one(lm, words(text)["input_ids"]) for text in TEXTS]
    assert [each.log_likelihood for each in found] == pytest.approx(expected, abs=1e-3)


def test_padding_and_batches_change_nothing():
    lm = model("llama")
    alone = [text_log_likelihoods(lm, tokenizer(), [text])[0].log_likelihood for text in TEXTS]
    for side in ("left", "right"):
        for size in (1, 2, 4):
            told = text_log_likelihoods(lm, tokenizer(side), TEXTS, batch_size=size)
            assert [each.log_likelihood for each in told] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_padding_and_batches_change_nothing_where_texts_are_steered(family):
    lm, words = model(family), tokenizer()
    plain = [each.log_likelihood for each in text_log_likelihoods(lm, words, TEXTS)]
    steerer = dsas.fit(lm, rudeness(), tokenizer=words, gate="always", strength=4.0, progress=False, batch_size=4)
    with steerer.attached(lm):
        alone = [each.log_likelihood for each in text_log_likelihoods(lm, words, TEXTS, batch_size=1)]
        together = [each.log_likelihood for each in text_log_likelihoods(lm, words, TEXTS, batch_size=4)]
    assert together == pytest.approx(alone, abs=1e-3)
    assert abs(np.array(alone) - plain).max() > 0.1
    assert [each.log_likelihood for each in text_log_likelihoods(lm, words, TEXTS)] == plain


def test_without_a_beginning_token_the_first_word_is_given():
    words = tokenizer()
    words.backend_tokenizer.post_processor = None
    lm = model("llama")
    (found,) = text_log_likelihoods(lm, words, ["the tree is green"])
    assert found.tokens == 3
    assert found.log_likelihood == pytest.approx(one_by_one(lm, words("the tree is green")["input_ids"]), abs=1e-4)
    with pytest.raises(InputError, match=r"'tree' has 1 tokens, and the first is given"):
        text_log_likelihoods(lm, words, ["tree"])


def test_continuations_count_and_their_prompts_do_not():
    lm, words = model("qwen2"), tokenizer()
    prompts, ends = ["you are", "the tree is very", ""], [" kind today", " green", "a nice house"]
    found = continuation_log_likelihoods(lm, words, prompts, ends)
    assert [each.tokens for each in found] == [2, 1, 3]
    for prompt, end, told in zip(prompts, ends, found, strict=True):
        whole = words(prompt + end)["input_ids"]
        assert told.log_likelihood == pytest.approx(one_by_one(lm, whole, len(whole) - told.tokens), abs=1e-4)
    # Prompt and continuation are two parts of one text.
    (all_of_it,) = text_log_likelihoods(lm, words, ["you are kind today"])
    (beginning,) = text_log_likelihoods(lm, words, ["you are"])
    assert all_of_it.log_likelihood == pytest.approx(beginning.log_likelihood + found[0].log_likelihood, abs=1e-4)


def test_long_texts_are_refused_or_read_in_windows():
    lm, words = model("gpt2"), tokenizer()  # reads 64 tokens
    text = " ".join(["the tree is very green today you are a nice friend"] * 12)
    ids = words(text)["input_ids"]
    with pytest.raises(InputError, match="has 133 tokens, but the model reads 1 to 64"):
        text_log_likelihoods(lm, words, [text])
    for stride in (1, 20, 63):
        expected, told, begin = 0.0, 1, 0
        while told < len(ids):  # every token from the first window that holds it
            end = min(begin + 64, len(ids))
            window = ids[begin:end]
            with torch.no_grad():
                logs = lm(input_ids=torch.tensor([window])).logits[0].double().log_softmax(-1)
            expected += sum(float(logs[place - begin - 1, ids[place]]) for place in range(told, end))
            told, begin = end, begin + stride
        (found,) = text_log_likelihoods(lm, words, [text], stride=stride)
        assert found.tokens == len(ids) - 1
        assert found.log_likelihood == pytest.approx(expected, abs=1e-2)
        short = text_log_likelihoods(lm, words, TEXTS, stride=stride)
        assert short == text_log_likelihoods(lm, words, TEXTS)
    (end,) = continuation_log_likelihoods(lm, words, [text], [" kind fool"], stride=32)
    assert end.tokens == 2


def test_bad_input():
    lm, words = model("llama"), tokenizer()
    with pytest.raises(InputError, match="no tokenizer was given"):
        text_log_likelihoods(lm, None, TEXTS)
    with pytest.raises(InputError, match="BertModel tells no token"):
        text_log_likelihoods(model("bert"), words, TEXTS)
    with pytest.raises(InputError, match="T5ForConditionalGeneration tells no token"):
        text_log_likelihoods(model("t5"), words, TEXTS)
    with pytest.raises(InputError, match="continuation '' of 'you are' is empty"):
        continuation_log_likelihoods(lm, words, ["you are"], [""])
    with pytest.raises(InputError, match="continuation ' ' of 'you are' is empty"):
        continuation_log_likelihoods(lm, words, ["you are"], [" "])
    with pytest.raises(InputError, match="batch_size is 0"):
        text_log_likelihoods(lm, words, TEXTS, batch_size=0)
    for stride in (0, 64):
        with pytest.raises(InputError, match=rf"stride is {stride}, but the model reads 64"):
            text_log_likelihoods(model("gpt2"), words, TEXTS, stride=stride)
    words.pad_token = None
    with pytest.raises(InputError, match="no pad token"):
        text_log_likelihoods(lm, words, TEXTS)
    with torch.no_grad():
        lm.lm_head.weight.fill_(math.inf)
    with pytest.raises(InputError, match="logits are not finite"):
        text_log_likelihoods(lm, tokenizer(), TEXTS)
