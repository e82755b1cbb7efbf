"""SSIM against SciPy's Gaussian filter and against the formula by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.ssim import MeanSsim, ssim


def scipy_ssim(x, y):
    x, y = (np.tensordot([0.299, 0.587, 0.114], values, axes=1) for values in (x, y))

    def blur(values):
        return gaussian_filter(values, sigma=1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 1e-4, 9e-4
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.mean(above / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)))


def twins(count, height=20, width=17):
    noise = np.random.default_rng(0)
    first = noise.random((count, 3, height, width))
    amounts = np.linspace(0.1, 0.9, count).reshape(-1, 1, 1, 1)
    return first, (1 - amounts) * first + amounts * noise.random(first.shape)


def test_against_scipy():
    images, others = twins(4)
    expected = [scipy_ssim(x, y) for x, y in zip(images, others, strict=True)]
    assert max(expected) - min(expected) > 0.3  # the pairs are of different likeness
    assert ssim(torch.from_numpy(images), torch.from_numpy(others)).tolist() == pytest.approx(expected, abs=1e-9)


def test_closed_form():
    black, grey, white = (torch.full((1, 3, 11, 11), value) for value in (0.0, 0.5, 1.0))
    assert ssim(grey, grey).item() == pytest.approx(1)
    assert ssim(black, white).item() == pytest.approx(1e-4 / (1 + 1e-4))  # no variance: only the means count
    assert ssim(grey, white).item() == pytest.approx((2 * 0.5 + 1e-4) / (0.25 + 1 + 1e-4))


def test_mean_over_batches_and_processes():
    images, others = (torch.from_numpy(values) for values in twins(3))
    one, other = MeanSsim(), MeanSsim()
    assert math.isnan(one.compute())
    one.update(images[:1], others[:1])
    other.update(images[1:], others[1:])
    assert one.merge(other).compute() == pytest.approx(ssim(images, others).mean().item())


def test_bad_input():
    with pytest.raises(InputError, match="Resize neither"):
        ssim(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 17))
    with pytest.raises(InputError, match="16×10 pixels, smaller than SSIM's window of 11×11"):
        ssim(torch.zeros(1, 3, 10, 16), torch.zeros(1, 3, 10, 16))
    with pytest.raises(InputError, match="luminance is taken of RGB"):
        ssim(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
