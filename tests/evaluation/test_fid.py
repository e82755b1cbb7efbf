"""FID against SciPy's matrix root."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy import linalg

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.fid import FrechetInceptionDistance, fid, frechet_distance


def rows(count, length=5, shift=0.0, seed=0):
    noise = np.random.default_rng(seed)
    return torch.from_numpy(noise.normal(shift, 1, (count, length)) @ noise.normal(size=(length, length)))


def by_scipy(features, references):
    x, y = features.numpy(), references.numpy()
    c, d = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(c @ d)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c + d - 2 * np.real(root))


@pytest.mark.parametrize("counts", [(40, 60), (300, 50)])
def test_against_scipy(counts):
    features, references = rows(counts[0]), rows(counts[1], shift=0.5, seed=1)
    assert fid(features, references) == pytest.approx(by_scipy(features, references), rel=1e-9)
    assert fid(references, features) == pytest.approx(fid(features, references), rel=1e-9)
    assert fid(features, features) == pytest.approx(0, abs=1e-9)


def test_closed_forms():
    # Two Gaussians on a line: (2 − 5)² + (3 − 4)².
    one = torch.tensor([2.0]), torch.tensor([[9.0]]), torch.tensor([5.0]), torch.tensor([[16.0]])
    assert frechet_distance(*one) == pytest.approx(9 + 1)
    # Covariances that commute: the sum over axes.
    mean, a, b = torch.zeros(3), torch.tensor([1.0, 4.0, 0.0]), torch.tensor([9.0, 4.0, 25.0])
    assert frechet_distance(mean, a.diag(), mean, b.diag()) == pytest.approx(4 + 0 + 25, abs=1e-5)
    assert fid(torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [5.0], [5.0]])) == pytest.approx(16 + 2)


def test_fewer_pictures_than_features():
    features, references = rows(4, 9), rows(6, 9, seed=1)
    # SciPy's root of a singular product is unsteady; the roots of its eigenvalues are the same sum.
    c, d = (np.cov(side.numpy(), rowvar=False) for side in (features, references))
    roots = np.sqrt(np.clip(np.real(np.linalg.eigvals(c @ d)), 0, None)).sum()
    expected = float((features.mean(0) - references.mean(0)).square().sum()) + np.trace(c + d) - 2 * roots
    assert fid(features, references) == pytest.approx(expected, rel=1e-5)


def test_batches_and_processes_add_up():
    def features(pictures):
        return pictures.flatten(1)[:, :6] ** 2

    pictures = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images, references = pictures[:11], pictures[11:]
    one, other = FrechetInceptionDistance(), FrechetInceptionDistance()
    one.update(images[:4], references[:1], features)
    assert math.isnan(one.compute())  # one reference only
    other.update(images[4:], [], features)
    other.update(pictures[:0], references[1:], features)
    merged = one.merge(pickle.loads(pickle.dumps(other)))
    assert merged.compute() == pytest.approx(fid(features(images), features(references)), rel=1e-6)
    assert math.isnan(FrechetInceptionDistance().compute())


def test_bad_input():
    with pytest.raises(InputError, match=r"references is a tensor of shape \(1, 4\); FID needs .* 2 pictures"):
        fid(torch.zeros(3, 4), torch.zeros(1, 4))
    with pytest.raises(InputError, match="the length 4 and references 5"):
        fid(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(InputError, match="finite rows"):
        FrechetInceptionDistance().update(torch.zeros(2, 3, 2, 2), [], lambda pictures: pictures / 0)
