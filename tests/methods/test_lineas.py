"""LinEAS at one site: a known affine map, sparsity, and an independent distance."""

import ot
import pytest
import torch

from dsas_diffusion.core.trainable import Units
from dsas_diffusion.core.transport import wasserstein
from dsas_diffusion.errors import InputError
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.methods.base import METHODS


def activations(n: int, channels: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 + 2 * torch.randn(n, channels, generator=generator)


@pytest.mark.parametrize("p", [1, 2])
def test_a_known_affine_map_is_recovered(p):
    source = activations(64, 12)
    scale = torch.linspace(0.5, 1.6, 12)
    shift = torch.linspace(-3, 3, 12)
    method = METHODS["lineas"](p=p).reset(12).fit(source, scale * source + shift)
    assert ((method.scale - scale).abs() / scale).max() <= 0.02
    assert ((method.shift - shift).abs() / source.std()).max() <= 0.02


def test_what_it_reaches_is_a_small_distance_by_another_library():
    source, target = activations(50, 5), activations(50, 5, seed=1) ** 2 / 5
    method = METHODS["lineas"]().reset(5).fit(source, target)
    after = ot.wasserstein_1d(method(source), target, p=2).tolist()
    exact = METHODS["linear_act"](support="none").reset(5).fit(source, target)  # the closed form of the same minimum
    best = wasserstein(exact(source), target).tolist()
    assert after == pytest.approx(best, rel=0.02)


def test_sparsity_leaves_alone_what_need_not_move():
    source = activations(64, 10)
    target = source.clone()
    target[:, :3] += 4.0
    dense = METHODS["lineas"]().reset(10).fit(source, target + 0.05 * activations(64, 10, seed=2))
    sparse = METHODS["lineas"](l1=0.2).reset(10).fit(source, target + 0.05 * activations(64, 10, seed=2))
    assert dense.touched() == 10
    assert sparse.touched() < 10
    assert (sparse.shift[:3] > 2).all()
    assert METHODS["lineas"](group=10.0).reset(10).fit(source, target).touched() == 0


def test_following_parameters_is_the_way_back():
    source = activations(40, 6)
    units = Units.of(source)
    fitted = METHODS["linear_act"]().reset(6).fit(source, 0.5 * source + 1)
    again = METHODS["linear_act"]().reset(6)
    again.follow(fitted.parameters_in(units), units)
    assert torch.allclose(again.scale, fitted.scale, atol=1e-6)
    assert torch.allclose(again.shift, fitted.shift, atol=1e-5)
    identity = METHODS["lineas"]().reset(6).parameters_in(units)
    assert all((value == 0).all() for value in identity.values())


@pytest.mark.parametrize("name", ["logistic", "relu"])
def test_a_gate_follows_its_parameters(name):
    source = activations(40, 6)
    gate = GATES[name]().reset(6)
    gate.register_buffer("weight", torch.linspace(-1, 1, 6))
    gate.register_buffer("bias", torch.tensor(0.3))
    units = Units.of(source)
    again = GATES[name]().reset(6)
    again.follow(gate.parameters_in(units), units)
    assert torch.allclose(again(source[:, None]), gate(source[:, None]), atol=1e-5)


@pytest.mark.parametrize("wrong", [{"p": 3}, {"l1": -1.0}, {"group": float("nan")}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        METHODS["lineas"](**wrong)


def test_the_inverse_keeps_its_settings():
    source = activations(30, 4)
    method = METHODS["lineas"](p=1, l1=0.0).reset(4).fit(source, 2 * source)
    back = method.inverse()
    assert back.p == 1
    assert torch.allclose(back(method(source)), source, atol=1e-4)
