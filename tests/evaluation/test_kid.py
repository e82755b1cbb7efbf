"""KID against two loops over single pictures."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation import kid as module
from dsas_diffusion.evaluation.kid import KernelInceptionDistance, kid


def rows(count, length=5, shift=0.0, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (count, length)))


def by_loops(features, references):
    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    x, y = features.tolist(), references.tolist()
    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(group, 2)]) for group in (x, y)]
    return sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])


@pytest.mark.parametrize("held", [1024, 3])
def test_against_loops(monkeypatch, held):
    monkeypatch.setattr(module, "ROWS", held)
    features, references = rows(8), rows(11, shift=0.5, seed=1)
    assert kid(features, references) == pytest.approx(by_loops(features, references))
    assert kid(references, features) == pytest.approx(kid(features, references))


def test_by_hand():
    # k(0, anything) = 1, k(1, 1) = 8: 1 + 8 − 2 · 1.
    assert kid(torch.zeros(2, 1), torch.ones(3, 1)) == pytest.approx(7)


def test_two_halves_of_one_distribution():
    # Unbiased: the mean over many pairs of halves is 0, where the biased estimate would be about 0.5.
    halves = [kid(rows(20, seed=2 * i), rows(20, seed=2 * i + 1)) for i in range(200)]
    assert abs(np.mean(halves)) < 4 * np.std(halves) / math.sqrt(len(halves)) < 0.1
    assert min(halves) < 0
    assert kid(rows(20), rows(20, shift=1, seed=1)) > 1


def test_features_of_length_one():
    features, references = (
        torch.nn.functional.normalize(rows(count, 64, 0.3, seed), dim=1) for count, seed in ((9, 0), (7, 1))
    )
    found = kid(features.float(), references.float())
    assert found == pytest.approx(by_loops(features, references), abs=1e-7)
    assert abs(found) < 0.01  # as the docstring warns


def test_batches_and_processes_add_up():
    def features(pictures):
        return pictures.flatten(1)[:, :6] ** 2

    pictures = torch.rand(12, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images, references = pictures[:7], pictures[7:]
    one, other = KernelInceptionDistance(), KernelInceptionDistance()
    one.update(images[:4], references[:1], features)
    assert math.isnan(one.compute())  # one reference only
    other.update(images[4:], [], features)
    other.update(pictures[:0], references[1:], features)
    merged = one.merge(pickle.loads(pickle.dumps(other)))
    assert merged.compute() == pytest.approx(kid(features(images), features(references)))
    assert math.isnan(KernelInceptionDistance().compute())


def test_bad_input():
    with pytest.raises(InputError, match=r"references is a tensor of shape \(1, 4\); KID needs .* 2 pictures"):
        kid(torch.zeros(3, 4), torch.zeros(1, 4))
    with pytest.raises(InputError, match="features is a tensor"):
        kid(torch.full((3, 4), float("nan")), torch.zeros(3, 4))
    with pytest.raises(InputError, match="the length 4 and references 5"):
        kid(torch.zeros(3, 4), torch.zeros(3, 5))
