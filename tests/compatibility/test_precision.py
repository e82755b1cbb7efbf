"""Half precision, storage in 8 bits, and attention backends."""

import pytest
import torch
from works import works

from compatibility.case import KINDS, QUIET, Case, both_orders, pictures_of

pytestmark = QUIET


@works("Precision", "bfloat16 and float16", "steered as far as in float32; attach before or after `pipe.to`",
       "sd flux sdxl sd3 zimage")  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision(name, dtype):
    case = Case(name)
    plain, steered = both_orders(case, lambda: case.pipe.to(dtype=dtype))
    assert case.denoiser.dtype == dtype
    assert (steered - plain).abs().mean() > (plain - pictures_of(name)[0]).abs().mean()


@works("Precision", "`enable_layerwise_casting` to 8 bits", "either order", "sd flux sd3")
@pytest.mark.parametrize("sites", KINDS)
def test_layerwise_casting(name, sites):
    case = Case(name, sites)
    both_orders(
        case,
        lambda: case.denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32),
    )


@works("Precision", "Attention backends", "either order", "sd3 flux qwenimage")
def test_attention_backends(name):
    case = Case(name)
    expected = pictures_of(name)
    try:
        found = both_orders(case, lambda: case.denoiser.set_attention_backend("_native_math"))
    finally:
        case.denoiser.set_attention_backend("native")  # which counts for all models
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)
