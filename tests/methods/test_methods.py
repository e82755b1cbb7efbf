"""The contract of every steering method, and each one's formula."""

import pytest
import torch

from dsas_diffusion.core.registry import settings_of
from dsas_diffusion.errors import InputError
from dsas_diffusion.methods.base import METHODS


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 6, generator=generator), torch.randn(30, 6, generator=generator) + 2


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
