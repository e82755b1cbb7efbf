"""Probes against scikit-learn's PCA and logistic regression."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from dsas_diffusion.core.probe import core_of, folded_classifier, folded_classifiers, surest
from dsas_diffusion.errors import InputError
from dsas_diffusion.gates.logistic import LogisticGate
from dsas_diffusion.gates.mlp import MLPGate
from dsas_diffusion.gates.patch import PatchGate
from dsas_diffusion.methods.mera import Mera


def two_clouds(n: int, m: int, channels: int, apart: float, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + m)
    spread = torch.linspace(0.1, 3, channels)
    clouds = [2 + spread * torch.randn(k, channels, generator=generator) for k in (n, m)]
    clouds[0][:, 0] += apart
    return scale * clouds[0], scale * clouds[1]


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(
    ("n", "m", "channels", "components", "apart", "scale"),
    [(60, 90, 12, 5, 0.5, 1.0), (40, 400, 8, 20, 3.0, 30.0), (6, 7, 30, 5, 50.0, 1.0), (50, 50, 4, 4, 0.0, 1e-3)],
)
def test_it_is_the_classifier_of_scikit_learn(n, m, channels, components, apart, scale, balanced):
    shown, other = two_clouds(n, m, channels, apart, scale)
    X, y = torch.cat([shown, other]).double().numpy(), np.repeat([1, 0], [n, m])
    parts = min(components, channels, n + m - 1)
    weights = "balanced" if balanced else None
    model = make_pipeline(
        PCA(parts, svd_solver="full"),
        LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000, class_weight=weights),
    ).fit(X, y)
    weight, bias = folded_classifier(shown, other, components, balanced)
    expected = model.decision_function(X)
    assert (X @ weight.double().numpy() + bias.item()) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("channels", [10, 200])
def test_several_choices_of_samples_are_several_classifiers(channels):
    shown, other = two_clouds(50, 60, channels, 1.0)
    X, kind = torch.cat([shown, other]), torch.arange(110) < 50
    counted = torch.stack([torch.arange(110) % 3 != fold for fold in range(3)])
    weights, biases = folded_classifiers(X, kind, counted, 4)
    for fold, chosen in enumerate(counted):
        weight, bias = folded_classifier(X[chosen & kind], X[chosen & ~kind], 4)
        assert torch.allclose(weights[fold].float(), weight, atol=1e-5)
        assert torch.allclose(biases[fold].float(), bias, atol=1e-5)
    assert not torch.allclose(weights[0], weights[1], atol=1e-3)


@pytest.mark.parametrize("components", [0, -3, True])
def test_a_number_of_components_that_is_none_is_refused_by_whoever_takes_one(components):
    for made in (LogisticGate, MLPGate, PatchGate, partial(PatchGate, 5), partial(Mera, 0.5)):
        with pytest.raises(InputError, match="whole number from 1 on"):
            made(components)


def test_clouds_far_apart_do_not_run_away():
    shown, other = two_clouds(500, 500, 6, 1e4)
    weight, bias = folded_classifier(shown, other, 5)
    assert weight.isfinite().all()
    assert bias.isfinite()
    assert (shown @ weight + bias > 0).all()
    assert (other @ weight + bias < 0).all()


def test_the_core_is_the_surest_share():
    shown, other = two_clouds(80, 80, 6, 4.0)
    rough = torch.cat([shown, two_clouds(80, 81, 6, 0.0)[0]])  # half of the region is not the concept
    weight, threshold = core_of(rough, other, 0.5)
    kept = rough @ weight >= threshold
    assert 78 <= kept.sum() <= 82
    assert kept[:80].float().mean() > 0.9
    positions, inside = torch.cat([rough, other]), torch.arange(240) < 160
    assert torch.equal(surest(positions, inside, other, 0.5)[:160], kept)
    assert surest(positions, inside, other, 1.0).sum() == 160
    odd = core_of(rough[:159], other, 0.5)  # whose quantile is the score of one of them
    assert (rough[:159] @ odd[0] - odd[1]).abs().min() > 1e-4
    few = core_of(rough[:1], other, 0.5)
    assert (rough @ few[0] >= few[1]).all()
