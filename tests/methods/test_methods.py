"""The contract of every steering method, and each one's formula."""

import numpy as np
import ot
import pytest
import torch
from scipy.stats import linregress
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dsas_diffusion.core.registry import settings_of
from dsas_diffusion.errors import InputError
from dsas_diffusion.methods.base import METHODS


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 6, generator=generator) + 2, torch.randn(30, 6, generator=generator)


@pytest.fixture(params=sorted(METHODS))
def method(request):
    return METHODS[request.param]().reset(6)


def test_unfitted_method_is_the_identity(method, samples):
    assert torch.equal(method(samples[0]), samples[0])


def test_fit_returns_self_moves_source_towards_target_and_changes_no_input(method, samples):
    source, target = (x.clone() for x in samples)
    assert method.fit(source, target) is method
    assert torch.equal(source, samples[0])
    before, after = (source.mean(0) - target.mean(0)).norm(), (method(source).mean(0) - target.mean(0)).norm()
    assert after < before


def test_second_fit_forgets_the_first(method, samples):
    source, target = samples
    other = type(method)(**settings_of(method)).reset(6).fit(source, target)
    method.fit(target, source).fit(source, target)
    for name, tensor in other.state_dict().items():
        assert torch.equal(method.state_dict()[name], tensor)


def test_map_acts_on_each_position_alone_in_any_dtype(method, samples):
    method.fit(*samples)
    block = samples[0].reshape(4, 10, 6)
    assert torch.allclose(method(block).reshape(40, 6), method(samples[0]))
    assert method(block.bfloat16()).dtype == torch.bfloat16


def test_state_dict_is_the_whole_method(method, samples):
    method.fit(*samples)
    copy = type(method)(**settings_of(method)).reset(6)
    copy.load_state_dict(method.state_dict())
    assert torch.equal(copy(samples[0]), method(samples[0]))


def test_activations_that_are_no_numbers_are_refused(method, samples):
    source, target = samples
    source[3, 2] = float("nan")
    with pytest.raises(InputError, match="1 of 40 source activations"):
        method.fit(source, target)


def test_caa_is_the_difference_of_means(samples):
    source, target = samples
    caa = METHODS["caa"]().reset(6).fit(source, target)
    expected = target.double().mean(0) - source.double().mean(0)
    assert torch.allclose(caa.shift.double(), expected, atol=1e-6)
    assert torch.allclose(caa(source), source + caa.shift)


def affine_pair(
    seed: int, scale: torch.Tensor, shift: torch.Tensor, count: int = 400
) -> tuple[torch.Tensor, torch.Tensor]:
    """Source samples, and another draw of them moved by a known affine map."""
    generator = torch.Generator().manual_seed(seed)
    source, other = (torch.randn(count, len(scale), generator=generator) for _ in range(2))
    return source, other * scale + shift


@pytest.mark.parametrize("name", ["linear_act", "gaussian_act"])
def test_transport_recovers_a_known_affine_map(name):
    scale, shift = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.0, -2.0, 0.0])
    source, target = affine_pair(0, scale, shift, 20_000)
    found = METHODS[name](support="none").reset(3).fit(source, target)
    assert torch.allclose(found.scale, scale, rtol=0.03)
    assert torch.allclose(found.shift, shift, atol=0.05)


def test_linear_act_is_the_least_squares_line_through_pots_coupling(samples):
    source, target = samples[0].double()[:30], samples[1].double()
    found = METHODS["linear_act"](support="none").reset(6).fit(source, target)
    for channel in range(6):
        plan = torch.from_numpy(ot.emd_1d(source[:, channel].numpy(), target[:, channel].numpy()))
        rows, columns = plan.nonzero(as_tuple=True)
        line = linregress(source[rows, channel].numpy(), target[columns, channel].numpy())
        assert found.scale[channel].item() == pytest.approx(line.slope, rel=1e-5)
        assert found.shift[channel].item() == pytest.approx(line.intercept, rel=1e-4, abs=1e-5)


def test_mean_act_without_support_is_caa(samples):
    caa, mean = METHODS["caa"]().reset(6).fit(*samples), METHODS["mean_act"](support="none").reset(6).fit(*samples)
    assert torch.allclose(caa(samples[0]), mean(samples[0]), atol=1e-5)


@pytest.mark.parametrize("name", ["mean_act", "gaussian_act", "linear_act"])
def test_outside_its_support_a_map_leaves_values_alone(name, samples):
    source, target = samples
    positions = torch.cat([source, source * 3])
    narrow = METHODS[name](quantile=0.0).reset(6).fit(source, target)
    wide = METHODS[name](quantile=0.0).reset(6).fit(source, target)
    wide.see_positions(positions)
    outside = source.max(0).values[None] * 1.5
    assert torch.equal(narrow(outside), outside)
    assert not torch.isclose(wide(outside), outside).all()
    assert torch.equal(wide.low, positions.min(0).values)
    inside = source.median(0).values[None]
    assert torch.equal(narrow(inside), wide(inside))
    cut = METHODS[name](quantile=0.1).reset(6).fit(source, target)
    cut.see_positions(positions)
    assert ((positions < cut.low) | (positions > cut.high)).float().mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("name", ["mean_act", "gaussian_act", "linear_act"])
def test_pooled_support_adds_the_shift_of_the_mean_to_every_position(name, samples):
    source, target = samples
    found = METHODS[name](support="pooled").reset(6).fit(source, target)
    pictures = source.reshape(4, 10, 6)
    change = found(pictures) - pictures
    assert torch.allclose(change, change[:, :1].expand_as(change), atol=1e-5)
    mean = pictures.mean(1)
    assert torch.allclose(change[:, 0], (found.scale - 1) * mean + found.shift, atol=1e-5)
    far = pictures + 100
    assert torch.equal(found(far), far)


@pytest.mark.parametrize("name", ["mean_act", "gaussian_act", "linear_act"])
def test_the_inverse_undoes_the_map(name, samples):
    found = METHODS[name](support="none").reset(6).fit(*samples)
    assert torch.allclose(found.inverse()(found(samples[0])), samples[0], atol=1e-4)
    inside = METHODS[name](quantile=0.0).reset(6).fit(*samples)
    between = (samples[0] > inside.low) & (samples[0] < inside.high)  # the very ends may round to the other side
    assert torch.allclose(inside.inverse()(inside(samples[0]))[between], samples[0][between], atol=1e-4)


def test_a_scale_of_zero_has_no_inverse(samples):
    found = METHODS["linear_act"]().reset(6).fit(samples[0], torch.zeros(30, 6))
    with pytest.raises(InputError, match="6 channels are scaled by 0"):
        found.inverse()


@pytest.mark.parametrize("name", ["gaussian_act", "linear_act"])
def test_constant_channels_keep_their_scale_and_all_constant_ones_are_refused(name, samples):
    source, target = samples[0].clone(), samples[1]
    source[:, 2] = 4.0
    assert METHODS[name]().reset(6).fit(source, target).scale[2] == 1
    with pytest.raises(InputError, match="alike in every channel"):
        METHODS[name]().reset(6).fit(torch.ones(10, 6), target)


def test_aura_dampens_by_the_auroc(samples):
    source, target = samples[0].clone(), samples[1]
    source[:, 1] -= 10  # the wrong way round
    found = METHODS["aura"]().reset(6).fit(source, target)
    y = np.repeat([1, 0], [len(source), len(target)])
    for channel in range(6):
        auroc = roc_auc_score(y, torch.cat([source, target])[:, channel].numpy())
        assert found.damping[channel].item() == pytest.approx(1 - 2 * max(auroc - 0.5, 0), abs=1e-6)
    assert found.damping[1] == 1


def test_ablation_leaves_no_projection_and_nothing_else_changes(samples):
    found = METHODS["ablation"]().reset(6).fit(*samples)
    moved = found(samples[0])
    assert (moved @ found.direction).abs().max() < 1e-5
    assert np.linalg.matrix_rank((moved - samples[0]).numpy(), tol=1e-4) == 1


@pytest.mark.parametrize("form", ["erase", "replace", "clip"])
def test_rank_one_touches_only_what_points_towards_the_concept(form, samples):
    source, target = samples
    found = METHODS["rank_one"](form=form).reset(6).fit(source, target)
    after = target.mean(0)
    direction = source.mean(0) - after
    direction = direction / direction.norm()
    limit = after @ direction if form == "clip" else 0.0
    points = torch.cat([source, -source])
    excess = (points @ direction - limit).clamp(min=0)
    moved = found(points)
    assert torch.equal(moved[excess == 0], points[excess == 0])
    assert (excess == 0).any()
    if form == "replace":
        assert torch.allclose(moved - points, excess[:, None] * (after / after.norm() - direction), atol=1e-5)
    else:
        assert torch.allclose(moved @ direction, (points @ direction).clamp(max=float(limit)), atol=1e-5)


def test_a_direction_needs_means_that_differ(samples):
    for name in ("ablation", "rank_one"):
        with pytest.raises(InputError, match="no direction to steer along"):
            METHODS[name]().reset(6).fit(samples[0], samples[0])


@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_mera_lands_on_its_threshold_by_the_shortest_way(alpha, samples):
    source, target = samples
    found = METHODS["mera"](alpha=alpha, components=6).reset(6).fit(source, target)
    probe = torch.sigmoid(source @ found.weight + found.bias)
    moved = found(source)
    after = torch.sigmoid(moved @ found.weight + found.bias)
    assert torch.allclose(after[probe > alpha], torch.tensor(alpha), atol=1e-5)
    assert torch.equal(moved[probe <= alpha], source[probe <= alpha])
    way = (moved - source)[probe > alpha]
    cosine = torch.nn.functional.cosine_similarity(way, -found.weight.expand_as(way))
    assert torch.allclose(cosine, torch.tensor(1.0), atol=1e-4)


def test_mera_refuses_a_threshold_that_is_no_probability():
    with pytest.raises(InputError, match="alpha must be in"):
        METHODS["mera"](alpha=1.0)


def test_iti_is_a_standard_deviation_along_a_unit_direction(samples):
    source, target = samples
    both = torch.cat([source, target]).double().numpy()
    plane = LogisticRegression(tol=1e-9, max_iter=10_000).fit(both, np.repeat([0, 1], [len(source), len(target)]))
    directions = {"iti_m": (target.mean(0) - source.mean(0)).double().numpy(), "iti_c": plane.coef_[0]}
    for name, direction in directions.items():
        along = direction / np.linalg.norm(direction)
        found = METHODS[name]().reset(6).fit(source, target)
        assert np.allclose(found.shift.numpy(), along * (both @ along).std(), atol=1e-4)


def test_midsteer_reads_by_linear_discriminant_analysis_and_takes_the_means_together(samples):
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(6, 6, generator=generator)  # channels that vary together
    source, target = (group @ mixed for group in samples)
    found = METHODS["midsteer"]().reset(6).fit(source, target)
    both = np.concatenate([source, target]).astype(np.float64)
    within = np.concatenate([group - group.mean(0) for group in (source.double().numpy(), target.double().numpy())])
    covariance = LedoitWolf(assume_centered=True).fit(within)
    judge = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=_Given(covariance.covariance_))
    direction = judge.fit(both, np.repeat([1, 0], [len(source), len(target)])).coef_[0]
    cosine = direction @ found.direction.numpy() / np.linalg.norm(direction) / found.direction.norm()
    assert cosine == pytest.approx(1, abs=1e-4)
    one, other = source.mean(0), target.mean(0)
    assert torch.allclose(found(one), other, atol=1e-4)
    assert torch.allclose(found(other), other, atol=1e-4)
    beyond = other - (one - other)
    assert torch.allclose(found(beyond), beyond, atol=1e-4)  # what points away from the concept is not touched


class _Given:
    """A covariance that is known already, for scikit-learn, which would weight the classes by their numbers."""

    def __init__(self, covariance):
        self.covariance_ = covariance

    def fit(self, _):
        return self


def test_midsteer_is_leace_where_nothing_is_clipped():
    """LEACE's own formula, which whitens by a root of the whole covariance, about the target's mean."""
    generator = torch.Generator().manual_seed(2)
    mixed = torch.randn(5, 5, generator=generator, dtype=torch.double)
    labels = torch.arange(4000) % 2
    points = torch.randn(4000, 5, generator=generator, dtype=torch.double) @ mixed
    points += labels[:, None] * 3.0 * mixed[0]  # far apart, so that every source point reads above 0
    source, target = points[labels == 1], points[labels == 0]
    found = METHODS["midsteer"]().reset(5).fit(source.float(), target.float())
    values, basis = torch.linalg.eigh(torch.cov(points.T, correction=0))
    root, inverse = (basis @ torch.diag(values**power) @ basis.T for power in (0.5, -0.5))
    u = inverse @ (source.mean(0) - target.mean(0))
    projector = root @ torch.outer(u, u) @ inverse / (u @ u)
    expected = source - (source - target.mean(0)) @ projector.T
    moved = found(source.float()).double()
    unclipped = (source.float() @ found.direction - found.threshold) > 0
    assert unclipped.float().mean() > 0.98
    change = (source - expected)[unclipped].norm()
    assert (moved - expected)[unclipped].norm() < 0.02 * change  # shrinkage moves it a little


def test_midsteer_without_spread_is_refused():
    with pytest.raises(InputError, match="no covariance to whiten by"):
        METHODS["midsteer"]().reset(3).fit(torch.ones(4, 3), torch.zeros(4, 3))
