"""PSNR against its closed form."""

import math
import statistics

import numpy as np
import pytest
import torch

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.psnr import MedianPsnr, psnr


def test_closed_form():
    twins = torch.full((3, 3, 4, 5), 0.5)
    images = twins + torch.tensor([0.1, 0.01, 0.0]).reshape(3, 1, 1, 1)
    first, second, third = psnr(images, twins).tolist()
    assert (first, second) == (pytest.approx(20, abs=1e-4), pytest.approx(40, abs=1e-3))
    assert third == math.inf
    assert psnr(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)).item() == 0


def test_against_numpy():
    noise = np.random.default_rng(0)
    images, twins = noise.random((4, 3, 8, 8)), noise.random((4, 3, 8, 8))
    expected = [10 * math.log10(1 / np.mean((a - b) ** 2)) for a, b in zip(images, twins, strict=True)]
    assert psnr(torch.from_numpy(images), torch.from_numpy(twins)).tolist() == pytest.approx(expected)


def test_median_over_batches_and_processes():
    noise = torch.rand(7, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    twins = noise.flip(0)  # the middle pair is identical
    one, other = MedianPsnr(), MedianPsnr()
    one.update(noise[:3], twins[:3])
    other.update(noise[3:], twins[3:])
    assert one.merge(other).compute() == pytest.approx(statistics.median(psnr(noise, twins).tolist()))
    same = MedianPsnr()
    same.update(noise, noise)
    assert same.compute() == math.inf
    assert math.isnan(MedianPsnr().compute())


def test_bad_input():
    with pytest.raises(InputError, match="Resize neither"):
        psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
    with pytest.raises(InputError, match=r"twins must be floats in \[0, 1\]"):
        psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 1.5))
    with pytest.raises(InputError, match="images must be floats"):
        psnr(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.zeros(1, 3, 4, 4))
    with pytest.raises(InputError, match="images must be floats"):
        psnr(torch.full((1, 3, 4, 4), float("nan")), torch.zeros(1, 3, 4, 4))
