"""Offload, attention slicing, fused projections and FreeU."""

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_module
from works import works

import dsas_diffusion as dsas
from compatibility.case import HEADS, KINDS, QUIET, Case, assert_clean, both_orders, pictures_of

pytestmark = QUIET


@works("Memory", "`enable_model_cpu_offload`", "either order", "sd flux sdxl sd3")
@pytest.mark.parametrize("sites", KINDS)
def test_model_offload(name, sites):
    case = Case(name, sites)
    plain, steered = both_orders(case, lambda: case.pipe.enable_model_cpu_offload(device="cpu"))
    assert torch.equal(plain, pictures_of(name, sites)[0])
    assert torch.equal(steered, pictures_of(name, sites)[1])


def offload_in_sequence(case: Case) -> None:
    """What `enable_sequential_cpu_offload` does to each of the models."""
    cpu_offload(case.denoiser, torch.device("cpu"))


@works("Memory", "`enable_sequential_cpu_offload`", "either order", "sd pixart_sigma flux")
@pytest.mark.parametrize("sites", [*KINDS, "blocks"])
def test_sequential_offload(name, sites):
    case = Case(name, sites)
    plain, steered = both_orders(case, lambda: offload_in_sequence(case))
    assert {p.device.type for p in case.denoiser.parameters()} == {"meta"}
    assert torch.equal(plain, pictures_of(name, sites)[0])
    assert torch.equal(steered, pictures_of(name, sites)[1])


@works("Memory", "Offload that is switched off while a steerer is attached",
       "a steerer that came first stays; one that came later loses sites, which is an error in the next run",
       "sd")  # fmt: skip
@pytest.mark.parametrize("steering_first", [True, False], ids=["first", "later"])
def test_offload_switched_off(name, steering_first):
    case = Case(name, "norms")
    plain, steered = pictures_of(name, "norms")
    if not steering_first:
        offload_in_sequence(case)
    attachment = case.steerer.attach(case.pipe)
    if steering_first:
        offload_in_sequence(case)
    assert torch.equal(case.draw(), steered)
    remove_hook_from_module(case.denoiser, recurse=True)
    if steering_first:
        assert torch.equal(case.draw(), steered)
    else:
        with pytest.raises(dsas.InputError, match="never ran"):
            case.draw()
    attachment.detach()
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), plain)


@works("Memory", "`enable_group_offload`, by blocks and by leaves", "either order", "sd flux sd3")
@pytest.mark.parametrize("level", ["block_level", "leaf_level"])
@pytest.mark.parametrize("sites", KINDS)
def test_group_offload(name, sites, level):
    case = Case(name, sites)
    cpu = torch.device("cpu")
    by_block = {"num_blocks_per_group": 1} if level == "block_level" else {}
    plain, steered = both_orders(
        case,
        lambda: case.denoiser.enable_group_offload(
            onload_device=cpu, offload_device=cpu, offload_type=level, **by_block
        ),
    )
    assert torch.equal(plain, pictures_of(name, sites)[0])
    assert torch.equal(steered, pictures_of(name, sites)[1])


@works("Memory", "Attention slicing", "either order", "sd")
@pytest.mark.parametrize("sites", KINDS)
def test_attention_slicing(name, sites):
    case = Case(name, sites)
    found = both_orders(case, lambda: case.pipe.enable_attention_slicing(1))
    for ours, theirs in zip(found, pictures_of(name, sites), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


@works("Memory", "`fuse_qkv_projections`", "either order", "sd flux")
@pytest.mark.parametrize("sites", ["auto", HEADS])
def test_fused_projections(name, sites):
    case = Case(name, sites)
    found = both_orders(case, lambda: case.denoiser.fuse_qkv_projections())
    for ours, theirs in zip(found, pictures_of(name, sites), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


@works("Memory", "FreeU", "either order", "sd")
def test_freeu(name):
    case = Case(name, "blocks")
    both_orders(case, lambda: case.pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6))
