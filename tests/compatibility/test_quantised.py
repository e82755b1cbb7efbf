"""Weights in eight bits by torchao: the model is known again, and steered as far as in float."""

from pathlib import Path

import pytest
import torch
from diffusers import TorchAoConfig
from tiny import open_steerer
from torchao.quantization import Int8Tensor, Int8WeightOnlyConfig, quantize_
from works import works

import dsas_diffusion as dsas
from compatibility.case import KINDS, QUIET, Case, assert_clean, both_orders, pictures_of
from compatibility.loras import load, pictures_with

pytestmark = QUIET


def quantised(name: str, folder: Path, dtype: torch.dtype = torch.float32) -> Case:
    """A case whose denoiser was saved and loaded again in eight bits, as users do; norms and biases have the dtype."""
    case = Case(name)
    case.denoiser.save_pretrained(folder)
    config = TorchAoConfig(Int8WeightOnlyConfig())
    loaded = type(case.denoiser).from_pretrained(folder, quantization_config=config, dtype=dtype)
    case.pipe.to(dtype)
    setattr(case.pipe, case.family.denoiser, loaded.eval())
    assert any(isinstance(parameter, Int8Tensor) for parameter in case.denoiser.parameters())
    return case


def assert_near(found: tuple[torch.Tensor, torch.Tensor], expected: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Both pictures, unsteered and steered, differ from those of float weights by under a tenth of what steering does.

    Rounding to eight bits changes weights by up to 1 in 254, which random weights pass on undamped.
    """
    effect = (expected[1] - expected[0]).abs().mean()
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().mean() < 0.1 * effect
    assert abs((found[1] - found[0]).abs().mean() / effect - 1) < 0.05


def drawn(case: Case, steerer: dsas.Steerer | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    plain = case.draw()
    with (steerer or case.steerer).attached(case.pipe):
        steered = case.draw()
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), plain)
    return plain, steered


@works("Precision", "`quantize_` of torchao with `Int8WeightOnlyConfig`, in place",
       "either order; as far as with float weights", "flux sd sd3 sdxl")  # fmt: skip
@pytest.mark.parametrize("sites", KINDS)
def test_quantised_in_place(name, sites):
    case = Case(name, sites)
    assert_near(both_orders(case, lambda: quantize_(case.denoiser, Int8WeightOnlyConfig())), pictures_of(name, sites))


@works("Precision", "`TorchAoConfig` in `from_pretrained`, with `bfloat16` and `float32` beside it",
       "takes a steerer that was fitted on float weights; as far as with those", "flux sd sd3")  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
def test_loaded_quantised(name, dtype, tmp_path):
    assert_near(drawn(quantised(name, tmp_path, dtype)), pictures_of(name))


@works("Precision", "A steerer that was fitted on quantised weights, by gradients or without",
       "fits those and float weights", "flux sd sd3")  # fmt: skip
@pytest.mark.parametrize("method", ["mean_act", pytest.param("lineas", marks=pytest.mark.full)])
def test_fitted_on_quantised_weights(name, method, tmp_path):
    case, other = quantised(name, tmp_path), Case(name)
    settings = {"method": method, "generation": case.family.generation}
    if method == "lineas":
        settings["training"] = dsas.Training(iterations=20)
    steerer = open_steerer(case.pipe, **settings)
    expected = drawn(other, open_steerer(other.pipe, **settings))
    assert_near(drawn(case, steerer), expected)
    assert_near(drawn(other, steerer), expected)


@works("Precision", "A LoRA on quantised weights", "as one on float weights", "flux sd sd3")
def test_lora_on_quantised_weights(name, tmp_path):
    case = quantised(name, tmp_path)
    with case.steerer.attached(case.pipe):
        steered = case.draw()
        load(case)
    assert_near(drawn(case), pictures_with(name, style=1.0))
    with case.steerer.attached(case.pipe):
        case.pipe.unload_lora_weights()
        assert torch.equal(case.draw(), steered)
