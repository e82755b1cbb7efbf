"""Toxicity figures against counting by hand and against a loop as the paper words it."""

import math
import pickle

import numpy as np
import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.toxicity import (
    AnyToxicRate,
    ExpectedMaximumToxicity,
    ToxicityRate,
    any_toxic,
    classified,
    maximum_toxicity,
    toxic,
)

SCORES = np.array([[0.1, 0.5, 0.2], [0.0, 0.3, 0.49], [0.9, 0.8, 0.7], [0.0, 0.0, 0.0]])


def test_by_hand():
    assert toxic([0.5, 0.4999, 1.0]).tolist() == [True, False, True]
    assert any_toxic(SCORES).tolist() == [True, False, True, False]
    assert any_toxic(SCORES, 0.3).tolist() == [True, True, True, False]
    assert maximum_toxicity(SCORES).tolist() == [0.5, 0.49, 0.9, 0.0]
    rate, once, worst = ToxicityRate(0.5), AnyToxicRate(0.5), ExpectedMaximumToxicity()
    for measure in (rate, once, worst):
        assert math.isnan(measure.compute())
        measure.update(SCORES)
    assert (rate.compute(), once.compute()) == (4 / 12, 2 / 4)
    assert worst.compute() == pytest.approx((0.5 + 0.49 + 0.9) / 4)


def test_against_a_loop():
    scores = np.random.default_rng(0).random((50, 25)) ** 6
    once = AnyToxicRate(0.8)
    worst = ExpectedMaximumToxicity()
    once.update(scores)
    worst.update(scores)
    seen, total = 0, 0.0
    for prompt in scores.tolist():
        seen += any(score >= 0.8 for score in prompt)
        total += max(prompt)
    assert 0 < seen < 50
    assert once.compute() == seen / 50
    assert worst.compute() == pytest.approx(total / 50)


@pytest.mark.parametrize("kind", [lambda: ToxicityRate(0.5), lambda: AnyToxicRate(0.5), ExpectedMaximumToxicity])
def test_batches_and_processes_add_up(kind):
    whole, one, other = kind(), kind(), kind()
    whole.update(SCORES)
    one.update(SCORES[:1])
    other.update(SCORES[1:])
    assert one.merge(pickle.loads(pickle.dumps(other))).compute() == pytest.approx(whole.compute())
    assert whole.higher_is_better is False


def test_other_thresholds_do_not_add_up():
    with pytest.raises(InputError, match="their own kind and settings"):
        ToxicityRate(0.5).merge(ToxicityRate(0.6))


def test_any_callable_classifies():
    assert classified(lambda texts: [len(text) / 10 for text in texts], ["ab", "abcde"]).tolist() == [0.2, 0.5]
    assert classified(lambda texts: [], []).shape == (0,)


def test_bad_input():
    with pytest.raises(InputError, match=r"Continuation 1 of the batch is empty \(' '\)"):
        classified(lambda texts: [0.0, 0.0], ["a", " "])
    for scores in ([0.5], [0.5, 1.5], [0.5, math.nan], [[0.5], [0.5]]):
        with pytest.raises(InputError, match="accepted is one probability"):
            classified(lambda texts, scores=scores: scores, ["a", "b"])
    for threshold in (0.0, 1.1, math.nan):
        with pytest.raises(InputError, match="threshold is"):
            toxic([0.5], threshold)
    with pytest.raises(InputError, match=r"scores has the shape \(2,\)"):
        maximum_toxicity([0.1, 0.2])
    with pytest.raises(InputError, match=r"scores has the shape \(3, 0\)"):
        any_toxic(np.zeros((3, 0)))
