"""The blend: exact at its ends, the paper's formula between and beyond."""

import pytest
import torch

from dsas_diffusion.core.features import from_positions, pool, to_positions
from dsas_diffusion.core.steer import steer


@pytest.fixture
def activation() -> torch.Tensor:
    return torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weight_zero_returns_the_activation_bit_for_bit(activation, dtype):
    t = activation.to(dtype)
    steered = steer(t, t + 3, torch.zeros(2, 5))
    assert steered.dtype == dtype
    assert torch.equal(steered, t)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weight_one_returns_the_map(activation, dtype):
    t = activation.to(dtype)
    assert torch.equal(steer(t, t + 3, torch.ones(2, 5)), t + 3)


@pytest.mark.parametrize("weight", [0.3, 0.5, 2.5, -1.0])
def test_blend_is_the_formula_at_every_position(activation, weight):
    moved, weights = activation.roll(1, 0), torch.full((2, 5), weight)
    weights[1, 2] = 0
    expected = (1 - weights[..., None].double()) * activation.double() + weights[..., None].double() * moved.double()
    assert torch.allclose(steer(activation, moved, weights).double(), expected, atol=1e-6)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_maps_go_to_positions_and_back(memory_format):
    activation = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5).contiguous(memory_format=memory_format)
    positions = to_positions(activation, "map")
    assert positions.shape == (2, 20, 3)
    assert torch.equal(positions[1, 7], activation[1, :, 1, 2])
    back = from_positions(positions, activation, "map")
    assert torch.equal(back, activation)
    assert back.is_contiguous(memory_format=memory_format)


def test_tokens_are_positions_already(activation):
    assert to_positions(activation, "tokens") is activation
    assert from_positions(activation, activation, "tokens") is activation


def test_pooling_averages_in_float32(activation):
    pooled = pool(activation.half())
    assert pooled.dtype == torch.float32
    assert torch.allclose(pooled, activation.half().float().mean(1))
