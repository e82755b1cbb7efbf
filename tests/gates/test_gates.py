"""The contract of every gate; the folded classifier against scikit-learn; the calibration's promises."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from dsas_diffusion.core.probe import surest
from dsas_diffusion.core.registry import settings_of
from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.validation import cross_validated, first_samples
from dsas_diffusion.gates.base import GATES, Samples
from dsas_diffusion.gates.calibrated import CalibratedGate
from dsas_diffusion.gates.logistic import LogisticGate
from dsas_diffusion.gates.patch import PatchGate


def recorded(seed: int, shift: float, spread: float = 1.0) -> Samples:
    """Pooled activations of 12 prompts × 5 steps around `shift`, and positions that spread wider."""
    generator = torch.Generator().manual_seed(seed)
    pooled = torch.randn(60, 8, generator=generator) * torch.linspace(0.2, 2, 8) + shift
    noise = torch.randn(240, 8, generator=generator) * spread
    inside = (torch.arange(240) % 4 == 0).float()
    positions = pooled.repeat_interleave(4, 0) + noise + shift * inside[:, None]
    return Samples(pooled, torch.arange(60) % 12, positions, inside)


@pytest.fixture
def source() -> Samples:
    return recorded(1, 1.5)


@pytest.fixture
def control() -> Samples:
    return recorded(2, 0.0)


@pytest.fixture(params=sorted(GATES))
def gate(request):
    return GATES[request.param]().reset(8)


def test_unfitted_gate_steers_nothing(gate, source):
    if gate.weighted:  # `always` has nothing to fit
        assert torch.equal(gate(source.positions[None]), torch.zeros(1, 240))


def test_scores_are_between_0_and_1_and_higher_on_the_concept(gate, source, control):
    assert gate.fit(source, control) is gate
    shown, other = gate(source.positions[None]), gate(control.positions[None])
    for scores in (shown, other):
        assert scores.shape == (1, 240)
        assert scores.dtype == torch.float32
        assert 0 <= scores.min() <= scores.max() <= 1
    if gate.weighted:
        assert shown.mean() > other.mean() + 0.1


def test_second_fit_forgets_the_first(gate, source, control):
    other = type(gate)(**settings_of(gate)).reset(8).fit(source, control)
    gate.fit(control, source).fit(source, control)
    for name, tensor in other.state_dict().items():
        assert torch.equal(gate.state_dict()[name], tensor)


def test_half_precision_activations_give_nearly_the_same_score(gate, source, control):
    gate.fit(source, control)
    exact, half = gate(source.positions[None]), gate(source.positions[None].bfloat16())
    assert half.dtype == torch.float32
    assert (exact - half).abs().mean() < 0.01


def test_folded_gate_equals_sklearn(source, control):
    gate = LogisticGate(components=5).reset(8).fit(source, control)
    X = torch.cat([source.pooled, control.pooled]).double().numpy()
    reference = make_pipeline(PCA(5), LogisticRegression(max_iter=10_000, tol=1e-9)).fit(X, np.repeat([1, 0], 60))
    unseen = torch.randn(500, 8, generator=torch.Generator().manual_seed(3)) * 3
    expected = reference.predict_proba(unseen.double().numpy())[:, 1]
    assert np.abs(gate(unseen[None])[0].double().numpy() - expected).max() < 1e-5


def test_more_components_than_channels_or_samples_are_fewer(source, control):
    gate = LogisticGate(components=50).reset(8).fit(source, control)
    assert torch.isfinite(gate.weight).all()


@pytest.mark.parametrize("spread", [0.5, 2.0, 6.0])
def test_calibrated_gate_keeps_its_mean_on_control(source, spread):
    control = recorded(2, -0.6, spread)
    gate = CalibratedGate(control_mean=0.02, dead_zone=0.1).reset(8).fit(source, control)
    scores = gate(control.positions[None])
    assert scores.mean() <= 0.02 + 1e-6
    assert not ((scores > 0) & (scores < 0.1)).any()


def test_calibration_keeps_the_order_of_scores(source, control):
    pooled = LogisticGate().reset(8).fit(source, control).logits(source.positions)
    calibrated = CalibratedGate().reset(8).fit(source, control).logits(source.positions)
    assert (pooled.argsort() == calibrated.argsort()).all()


@pytest.mark.parametrize("settings", [{"control_mean": 0.0}, {"control_mean": 1.5}, {"dead_zone": 1.0}])
def test_calibration_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match="control_mean"):
        CalibratedGate(**settings)


def test_always_is_open_everywhere_and_without_site_weight(source, control):
    gate = GATES["always"]().reset(8).fit(source, control)
    assert not gate.weighted
    assert torch.equal(gate(source.positions[None]), torch.ones(1, 240))


def test_image_mean_is_the_papers_gate_on_the_mean(source, control):
    gate = GATES["image_mean"](components=5, dead_zone=0.0).reset(8).fit(source, control)
    pictures = torch.randn(5, 7, 8, generator=torch.Generator().manual_seed(3))
    expected = LogisticGate().reset(8).fit(source, control)(pictures.mean(1, keepdim=True))
    assert torch.allclose(gate(pictures), expected.expand(5, 7))


def test_patch_gate_is_whether_times_where(source, control):
    gate = PatchGate(components=5, dead_zone=0.0, control_mean=0.9).reset(8).fit(source, control)
    shown = source.inside >= 0.5
    X = torch.cat([source.positions[shown], source.positions[~shown], control.positions]).double().numpy()
    y = np.repeat([1, 0], [int(shown.sum()), len(X) - int(shown.sum())])
    where = make_pipeline(PCA(8), LogisticRegression(class_weight="balanced", max_iter=10_000, tol=1e-9)).fit(X, y)
    pictures = torch.randn(5, 7, 8, generator=torch.Generator().manual_seed(3))
    expected = where.predict_proba(pictures.double().reshape(35, 8).numpy())[:, 1].reshape(5, 7)
    whether = LogisticGate().reset(8).fit(source, control)(pictures.mean(1, keepdim=True))
    assert np.abs(gate(pictures).numpy() - whether.numpy() * expected).max() < 1e-5


def test_patch_gate_sees_places_and_spares_control(source, control):
    gate = PatchGate().reset(8).fit(source, control)
    scores = gate.on_samples(source)
    assert scores[source.inside == 1].mean() > scores[source.inside == 0].mean() + 0.1
    assert gate.on_samples(control).mean() <= 0.02 + 1e-6


def test_a_patch_gate_beside_another_is_the_gate_that_it_would_be_alone(control, monkeypatch):
    source = recorded(1, 0.5)
    first = PatchGate(control_mean=0.001).reset(8).fit(source, control)
    other = (source._replace(pooled=source.pooled.cos()), control._replace(pooled=control.pooled.cos()))
    alone = PatchGate(control_mean=0.001).reset(8).fit(*other)
    monkeypatch.setattr(PatchGate, "_learned_places", None)  # not learned again
    beside = PatchGate(control_mean=0.001).reset(8).fit_beside(first, *other)
    assert all(torch.equal(tensor, beside.state_dict()[name]) for name, tensor in alone.state_dict().items())
    assert not torch.equal(beside.where_bias, first.where_bias)


def rough(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions of which the first 100 show the concept, a region twice as large, and positions off it."""
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(600, 8, generator=generator)
    shown = torch.arange(600) < 100
    positions[shown, 0] += 4
    return positions, shown, torch.arange(600) < 200, torch.randn(500, 8, generator=generator)


def test_surest_positions_of_a_rough_region_are_the_concepts_own():
    positions, shown, region, other = rough(0)
    kept = surest(positions, region, other, 0.5)
    assert kept.sum() == 100
    assert (kept & ~region).sum() == 0
    assert (kept & shown).sum() >= 95
    assert torch.equal(surest(positions, region, other, 1.0), region)


def test_a_patch_gate_of_the_core_keeps_closer_to_the_concept():
    positions, shown, region, other = rough(1)
    source = Samples(positions[::10], torch.arange(60) % 12, positions, region.float())
    control = Samples(other[::10] - 2, torch.arange(50) % 10, other, None)
    off = {}
    for core in (1.0, 0.5):
        where = PatchGate(core=core).reset(8).fit(source, control).factor("where", positions[None])[0]
        off[core] = (where[~shown].mean() / where[shown].mean()).item()
    assert off[0.5] < 0.5 * off[1.0]


@pytest.mark.parametrize("core", [0.0, 1.5])
def test_the_core_is_a_share(core):
    with pytest.raises(InputError, match=f"core={core}"):
        PatchGate(core=core)


def test_patch_gate_must_know_places(source, control):
    with pytest.raises(InputError, match="needs to know where the concept is"):
        PatchGate().reset(8).fit(source._replace(inside=None), control)
    with pytest.raises(InputError, match="0 lie inside"):
        PatchGate().reset(8).fit(source._replace(inside=torch.zeros(240)), control)


@pytest.mark.parametrize("name", ["image_mean", "patch", "calibrated"])
def test_scores_of_recorded_samples_are_those_of_the_pictures(name, source, control):
    gate = GATES[name]().reset(8).fit(source, control)
    pictures = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(5))
    samples = Samples(pictures.mean(1), torch.arange(6), pictures.flatten(0, 1))
    assert torch.allclose(gate.on_samples(samples), gate(pictures).flatten(), atol=1e-6)


def test_relu_gate_is_a_clamped_least_squares_line(source, control):
    gate = GATES["relu"](components=8).reset(8).fit(source, control)
    X = torch.cat([source.pooled, control.pooled]).double().numpy()
    line = LinearRegression().fit(X, np.repeat([1.0, 0.0], [60, 60]))
    expected = line.predict(source.positions.double().numpy()).clip(0, 1)
    assert np.abs(gate(source.positions[None])[0].numpy() - expected).max() < 1e-4
    assert (gate(control.positions[None]) == 0).any()


def ring(seed: int, radius: float) -> Samples:
    """Samples on a circle of the first two channels: no line tells two circles apart."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(80, generator=generator) * 2 * torch.pi
    pooled = torch.randn(80, 4, generator=generator) * 0.05
    pooled[:, 0] += radius * angle.cos()
    pooled[:, 1] += radius * angle.sin()
    return Samples(pooled, torch.arange(80) // 4, pooled)


def test_mlp_gate_tells_what_no_line_can_and_folds_its_pca():
    source, control = ring(1, 0.3), ring(2, 2.0)
    straight, bent = (cross_validated(GATES[name](), source, control)[0] for name in ("logistic", "mlp"))
    assert straight < 0.7
    assert bent > 0.95
    one, two = (GATES["mlp"]().reset(4).fit(source, control) for _ in range(2))
    assert torch.equal(one(source.positions[None]), two(source.positions[None]))


def test_cast_decides_for_whole_pictures_with_the_best_f1(source, control):
    gate = GATES["cast"]().reset(8).fit(source, control)
    both, y = torch.cat([source.pooled, control.pooled]), np.repeat([1, 0], 60)
    met = gate(both[:, None])[:, 0].numpy()
    similarity = gate.similarity(both).numpy()
    best = max(f1_score(y, side * (similarity - at) > 0) for at in similarity + 1e-6 for side in (1, -1))
    assert f1_score(y, met) >= best - 1e-9
    assert gate(torch.randn(3, 7, 8)).unique(dim=1).shape == (3, 1)


def test_mera_gate_abstains_where_a_threshold_gains_nothing(source, control):
    assert GATES["mera"]().reset(8).fit(source, control).alpha < 1
    same = GATES["mera"](components=1).reset(8).fit(control, control._replace(pooled=control.pooled.flip(0)))
    assert not same(control.positions[None]).any()
    gate = GATES["mera"]().reset(8).fit(source, control)
    probe = LogisticGate(20).reset(8).fit(source, control)
    assert torch.equal(gate(source.positions[None]), (probe(source.positions[None]) > gate.alpha).float())


def test_first_samples_are_each_prompts_first_step_with_its_positions(source):
    first = first_samples(source)
    assert torch.equal(first.pooled, source.pooled[:12])  # samples run through the 12 prompts, step by step
    assert first.prompts.tolist() == list(range(12))
    assert torch.equal(first.positions, source.positions[:48])
    assert torch.equal(first.inside, source.inside[:48])
