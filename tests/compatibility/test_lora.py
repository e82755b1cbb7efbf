"""LoRA, loaded by peft onto steered layers: as steering a model into whose weights it was merged by hand."""

from collections.abc import Callable

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from tiny import STRENGTH, open_steerer
from works import works

import dsas_diffusion as dsas
from compatibility.case import HEADS, QUIET, Case, assert_clean, both_orders, pictures_of
from compatibility.loras import load, lora, pictures_with

pytestmark = QUIET


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found, expected, atol=1e-3)


def assert_unloaded(case: Case) -> None:
    """No hook is left, no layer that peft put in, and the weights are bit for bit the same."""
    assert_clean(case.pipe)
    assert not any(isinstance(module, BaseTunerLayer) for module in case.denoiser.modules())
    assert torch.equal(case.draw(), pictures_of(case.family.name)[0])


@works("LoRA", "`load_lora_weights` on steered attention, and `unload_lora_weights` while attached",
       "either order; as steering a model into which it was merged", "sd flux sd3")  # fmt: skip
@pytest.mark.parametrize("sites", ["auto", "norms", "blocks"])
def test_lora(name, sites):
    case = Case(name, sites)
    found = both_orders(case, lambda: load(case))
    for ours, theirs, without in zip(
        found, pictures_with(name, sites, style=1.0), pictures_of(name, sites), strict=True
    ):
        assert close(ours, theirs)
        assert not close(ours, without)
    with case.steerer.attached(case.pipe):
        case.pipe.unload_lora_weights()
        assert torch.equal(case.draw(), pictures_of(name, sites)[1])
    assert_unloaded(case)


@works("LoRA", "A LoRA from a file", "as the same one from memory", "sd flux sd3")
def test_lora_from_a_file(name, tmp_path):
    case = Case(name)
    prefix = f"{case.family.denoiser}."
    layers = {key.removeprefix(prefix): value for key, value in lora(case).items()}
    case.pipe.save_lora_weights(tmp_path, **{f"{case.family.denoiser}_lora_layers": layers})
    with case.steerer.attached(case.pipe):
        case.pipe.load_lora_weights(tmp_path)
        assert close(case.draw(), pictures_with(name, style=1.0)[1])
        case.pipe.unload_lora_weights()
    assert_unloaded(case)


@works(
    "LoRA", "Two LoRAs, `set_adapters` with weights, `delete_adapters`", "counts from the next call on", "sd flux sd3"
)
def test_lora_weights(name):
    case = Case(name)
    load(case)
    with case.steerer.attached(case.pipe) as attachment:
        load(case, "grain")
        for scales in (
            {"style": 1.0, "grain": 0.5},
            {"style": 0.25},
            {"grain": 1.0},
        ):
            case.pipe.set_adapters(list(scales), list(scales.values()))
            plain, steered = pictures_with(name, **scales)
            assert close(case.draw(), steered)
            attachment.set_strength(0.0)
            assert close(case.draw(), plain)
            attachment.set_strength(STRENGTH)
        case.pipe.delete_adapters("style")
        assert close(case.draw(), steered)
        case.pipe.unload_lora_weights()
    assert_unloaded(case)


@works("LoRA", "`disable_lora` and `enable_lora`", "as without it, and as with it", "sd flux sd3")
def test_lora_switched_off(name):
    case = Case(name)
    with case.steerer.attached(case.pipe):
        load(case)
        on = case.draw()
        case.pipe.disable_lora()
        assert torch.equal(case.draw(), pictures_of(name)[1])
        case.pipe.enable_lora()
        assert torch.equal(case.draw(), on)
    case.pipe.disable_lora()
    assert torch.equal(case.draw(), pictures_of(name)[0])
    case.pipe.unload_lora_weights()
    assert_unloaded(case)


@works("LoRA", "`fuse_lora`, `unfuse_lora`, and unloading what was fused, which stays in the weights",
       "either order; as steering a model into which it was merged", "sd flux sd3")  # fmt: skip
@pytest.mark.parametrize("attached_first", [True, False], ids=["attached", "fused"])
def test_fused_lora(name, attached_first):
    case = Case(name)
    plain, steered = pictures_with(name, style=1.0)
    load(case)
    if attached_first:
        attachment = case.steerer.attach(case.pipe)
        case.pipe.fuse_lora()
    else:
        case.pipe.fuse_lora()
        attachment = case.steerer.attach(case.pipe)
    assert close(case.draw(), steered)
    case.pipe.unfuse_lora()
    assert close(case.draw(), steered)
    case.pipe.disable_lora()
    assert close(case.draw(), pictures_of(name)[1])
    case.pipe.enable_lora()
    case.pipe.fuse_lora()
    case.pipe.unload_lora_weights()
    assert close(case.draw(), steered)
    attachment.detach()
    assert_clean(case.pipe)
    assert close(case.draw(), plain)


@works("LoRA", "A LoRA, then `enable_model_cpu_offload`", "attach first, between them, or last", "sd flux")
@pytest.mark.parametrize("order", ["aso", "sao", "soa"])  # attach, style, offload
def test_lora_under_offload(name, order):
    case = Case(name)
    does: dict[str, Callable[[], object]] = {
        "o": lambda: case.pipe.enable_model_cpu_offload(device="cpu"),
        "a": lambda: case.steerer.attach(case.pipe),
        "s": lambda: load(case),
    }
    done = {step: does[step]() for step in order}
    assert close(case.draw(), pictures_with(name, style=1.0)[1])
    case.pipe.unload_lora_weights()
    assert torch.equal(case.draw(), pictures_of(name)[1])
    done["a"].detach()
    assert_unloaded(case)


@works("LoRA", "LoRAs and steerers as adapters of one pipeline, each with its own verbs", "neither disturbs the other",
       "sd flux sd3")  # fmt: skip
def test_lora_beside_steering_adapters(name):
    case = Case(name)
    expected = pictures_with(name, style=1.0)
    dsas.load_steering(case.pipe, case.steerer, "banana")
    load(case)
    both = case.draw()
    assert close(both, expected[1])
    assert case.pipe.get_active_adapters() == ["style"]
    assert dsas.get_list_steering(case.pipe) == ["banana"]
    dsas.disable_steering(case.pipe)
    assert close(case.draw(), expected[0])
    dsas.enable_steering(case.pipe)
    assert torch.equal(case.draw(), both)
    case.pipe.set_adapters("style", 0.0)
    assert close(case.draw(), pictures_of(name)[1])
    case.pipe.unload_lora_weights()
    assert torch.equal(case.draw(), pictures_of(name)[1])
    load(case)
    dsas.unload_steering(case.pipe)
    assert close(case.draw(), expected[0])
    case.pipe.unload_lora_weights()
    assert_unloaded(case)


@works("LoRA", "A steerer that was fitted while a LoRA was on", "fits the model with it and without it", "sd flux")
def test_fitted_with_a_lora(name):
    case, other = Case(name), Case(name)
    load(case)
    steerer = open_steerer(case.pipe, generation=case.family.generation)
    with steerer.attached(other.pipe):
        assert not close(other.draw(), pictures_of(name)[0])
    assert_unloaded(other)


@works("LoRA", "A LoRA that comes or goes while attention heads are steered",
       "the same, whenever it comes or goes", "sd flux sd3")  # fmt: skip
def test_lora_under_steered_heads(name):
    case = Case(name, HEADS)
    both_orders(case, lambda: load(case))
    with case.steerer.attached(case.pipe):
        case.pipe.unload_lora_weights()
        assert torch.equal(case.draw(), pictures_of(name, HEADS)[1])
    assert torch.equal(case.draw(), pictures_of(name, HEADS)[0])
    assert_clean(case.pipe)
