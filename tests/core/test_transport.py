"""Optimal transport on lines, against POT."""

import numpy as np
import ot
import pytest
import torch

from dsas_diffusion.core.transport import affine_transport, sorted_pairs, wasserstein


def draws(n: int, m: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator).double(), torch.randn(m, 4, generator=generator).double() * 2 + 1


@pytest.mark.parametrize("p", [1, 2])
def test_wasserstein_is_pots(p):
    a, b = draws(50, 50)
    assert np.allclose(wasserstein(a, b, p).numpy(), ot.wasserstein_1d(a.numpy(), b.numpy(), p=p))


@pytest.mark.parametrize("p", [1, 2])
def test_unequal_counts_come_close_to_the_exact_distance(p):
    a, b = draws(400, 150)
    exact = ot.wasserstein_1d(a.numpy(), b.numpy(), p=p)
    assert np.allclose(wasserstein(a, b, p).numpy(), exact, rtol=0.05)


def test_pairs_are_sorted_and_of_one_length():
    a, b = sorted_pairs(*draws(30, 12))
    assert a.shape == b.shape == (12, 4)
    assert (a.diff(dim=0) >= 0).all()
    assert (b.diff(dim=0) >= 0).all()


def test_the_distance_can_be_descended():
    a, b = draws(40, 40)
    shift = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(wasserstein(a + shift, b).sum(), shift)
        shift = (shift - 0.1 * gradient).detach().requires_grad_()
    assert torch.allclose(shift, b.mean(0) - a.mean(0), atol=1e-6)


def test_a_constant_channel_keeps_its_scale():
    a, b = draws(10, 10)
    a[:, 1] = 3.0
    scale, shift = affine_transport(a, b)
    assert scale[1] == 1
    assert shift[1] == pytest.approx(b[:, 1].mean().item() - 3)
