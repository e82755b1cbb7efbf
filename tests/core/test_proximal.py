"""The proximal operator against a numerical minimiser, and descent against least squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import Lasso, LinearRegression

from dsas_diffusion.core.descent import Descent, ProximalDescent
from dsas_diffusion.core.proximal import sparse_group_prox
from dsas_diffusion.errors import InputError


@pytest.mark.parametrize("metric", [torch.ones(6), torch.linspace(0.3, 4, 6)], ids=["plain", "metric"])
@pytest.mark.parametrize(("l1", "group"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.4), (0.25, 0.2), (0.1, 5.0), (9.0, 0.0)])
def test_prox_is_what_a_minimiser_finds(l1, group, metric):
    h = metric.double().numpy()
    x = torch.randn(6, generator=torch.Generator().manual_seed(3), dtype=torch.float64).numpy()

    def objective(y):  # y = a − b with a, b ≥ 0, so that ‖y‖₁ is smooth
        y, l1_norm = y[:6] - y[6:], y.sum()
        return 0.5 * (h * (y - x) ** 2).sum() + l1 * l1_norm + group * np.sqrt(6) * np.sqrt((y**2).sum() + 1e-18)

    start = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)]) + 1e-3
    found = minimize(objective, start, method="L-BFGS-B", bounds=[(0, None)] * 12, options={"ftol": 1e-15})
    expected = found.x[:6] - found.x[6:]
    assert sparse_group_prox(torch.from_numpy(x), metric.double(), l1, group).numpy() == pytest.approx(
        expected, abs=2e-4
    )


def test_prox_of_a_gradient_step_is_the_closed_form():
    x, rate = torch.tensor([3.0, -0.2, 1.0, 0.5]), 0.1
    z = torch.tensor([2.95, -0.15, 0.95, 0.45])  # soft-thresholded by 0.1 · 0.5
    expected = (1 - rate * 4 * 2 / z.norm()) * z
    assert torch.allclose(sparse_group_prox(x, torch.full((4,), 1 / rate), 0.5, 4.0), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "rate", "l1"), [("adam", 0.05, 0.0), ("sgd", 0.3, 0.0), ("sgd", 0.3, 0.2), ("adam", 0.05, 0.2)]
)
def test_descent_ends_at_the_lasso_of_scikit_learn(optimizer, rate, l1):
    generator = torch.Generator().manual_seed(0)
    X, true = torch.randn(200, 8, generator=generator), torch.tensor([2.0, -1, 0, 0, 0.5, 0, 0, 0])
    y = X @ true + 0.1 * torch.randn(200, generator=generator)
    w = torch.zeros(8, requires_grad=True)
    descent = ProximalDescent(Descent(optimizer, rate, 800), [w], [w], l1=l1)
    for _ in range(800):
        (0.5 * (X @ w - y).square().mean()).backward()
        descent.step()
    model = Lasso(alpha=l1, fit_intercept=False, tol=1e-6) if l1 else LinearRegression(fit_intercept=False)
    expected = model.fit(X.double().numpy(), y.double().numpy()).coef_
    assert w.detach().numpy() == pytest.approx(expected, abs=2e-4)
    assert ((w == 0).numpy() == (expected == 0)).all()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_interrupted_descent_goes_on_as_if_it_had_not_been(optimizer):
    target = torch.tensor([1.0, -2.0, 0.01])

    def begin():
        x = torch.zeros(3, requires_grad=True)
        return x, ProximalDescent(Descent(optimizer, 0.1, 20), [x], [x], l1=0.05)

    def iterate(x, descent, times):
        for _ in range(times):
            (x - target).square().sum().backward()
            descent.step()

    whole, descent = begin()
    iterate(whole, descent, 20)
    first, descent = begin()
    iterate(first, descent, 7)
    second, again = begin()
    again.restore(descent.state(), 7)
    iterate(second, again, 13)
    assert torch.equal(second, whole)
    assert not torch.equal(first, whole)


def test_the_learning_rate_falls_along_a_cosine_to_a_tenth():
    x = torch.zeros(1, requires_grad=True)
    descent = ProximalDescent(Descent(learning_rate=0.2, iterations=4), [x])
    rates = []
    for _ in range(4):
        rates.append(descent.learning_rate())
        x.sum().backward()
        descent.step()
    expected = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([x], 0.2), 4, eta_min=0.02)
    known = []
    for _ in range(4):
        known.append(expected.get_last_lr()[0])
        expected.optimizer.step()
        expected.step()
    assert rates == pytest.approx(known)


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"iterations": 0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Descent(**wrong)
