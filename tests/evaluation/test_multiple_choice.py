"""Multiple choice against running every answer by itself."""

import math
import pickle

import numpy as np
import pytest
import torch
from tiny_texts import model, tokenizer

from dsas_diffusion import orchard
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.multiple_choice import Choice, MultipleChoiceAccuracy, choose
from dsas_diffusion.orchard.text.measures import answers

QUESTIONS = [
    Choice("the tree is", ("green", "kind", "rude"), 0),
    Choice("you are", ("a fool", "a very nice friend"), 1),
    Choice("it is", ("today", "the house", "a tree today", "silly"), 2),
    Choice("a", ("tree", "house"), 1),
]


def one_by_one(lm, words, question: Choice) -> int:
    told = []
    for answer in question.choices:
        given, whole = words(question.prompt)["input_ids"], words(f"{question.prompt} {answer}")["input_ids"]
        with torch.no_grad():
            logs = lm(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(-1)
        told.append(sum(float(logs[place - 1, whole[place]]) for place in range(len(given), len(whole))))
    return int(np.argmax(told))


@pytest.mark.parametrize("seed", range(4))
def test_against_every_answer_by_itself(seed):
    lm, words = model("llama", seed), tokenizer()
    expected = [one_by_one(lm, words, question) for question in QUESTIONS]
    for size in (1, 3, 16):
        assert choose(lm, words, QUESTIONS, batch_size=size).tolist() == expected


def test_orchards_model_is_right_where_orchard_says_so():
    lm, words = orchard.load_language_model()
    asked = orchard.four_way_questions(120, "tuning")
    found = choose(lm, words, [Choice(question.prompt, question.choices, question.answer) for question in asked])
    assert found.tolist() == answers(lm, words, asked)
    assert np.mean(found == [question.answer for question in asked]) > 0.9


def test_accuracy_adds_up():
    whole, one, other = (MultipleChoiceAccuracy() for _ in range(3))
    assert math.isnan(whole.compute())
    whole.update(QUESTIONS, [0, 1, 1, 1])
    one.update(QUESTIONS[:2], np.array([0, 1]))
    other.update(QUESTIONS[2:], [1, 1])
    assert whole.compute() == 0.75
    assert one.merge(pickle.loads(pickle.dumps(other))).compute() == 0.75
    assert MultipleChoiceAccuracy.higher_is_better


def test_bad_input():
    with pytest.raises(InputError, match="has 1 choices and the answer 0"):
        Choice("the tree is", ("green",), 0)
    for answer in (-1, 2):
        with pytest.raises(InputError, match=f"2 choices and the answer {answer}"):
            Choice("the tree is", ("green", "kind"), answer)
    with pytest.raises(InputError, match="continuation ' ' of 'you are' is empty"):
        choose(model("llama"), tokenizer(), [Choice("you are", ("", "kind"), 0)])
