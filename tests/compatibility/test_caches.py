"""Step-skipping caches, set up to skip as much as they can."""

from functools import cache

import pytest
import torch
from diffusers.hooks import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    SeaCacheConfig,
    TaylorSeerCacheConfig,
    apply_faster_cache,
    apply_first_block_cache,
)
from tiny import STRENGTH
from works import works

import dsas_diffusion as dsas
from compatibility.case import QUIET, Case, assert_clean, die, pictures_of

pytestmark = QUIET


CACHES = {
    "first-block": lambda pipe: FirstBlockCacheConfig(threshold=1e9),
    "pyramid": lambda pipe: PyramidAttentionBroadcastConfig(
        spatial_attention_timestep_skip_range=(-1, 1001), current_timestep_callback=lambda: 500
    ),
    "faster": lambda pipe: FasterCacheConfig(
        spatial_attention_timestep_skip_range=(-1, 900), is_guidance_distilled=True,
        current_timestep_callback=lambda: pipe.current_timestep, attention_weight_callback=lambda module: 0.5,
    ),
    "taylorseer": lambda pipe: TaylorSeerCacheConfig(
        cache_interval=3, disable_cache_before_step=2, taylor_factors_dtype=torch.float32
    ),
    "mag": lambda pipe: MagCacheConfig(
        threshold=1e9, retention_ratio=0.25, num_inference_steps=4, mag_ratios=[1.0] * 4
    ),
    "sea": lambda pipe: SeaCacheConfig(threshold=1e9),
}  # fmt: skip


@cache
def under_cache(name: str, kind: str) -> torch.Tensor:
    """What a cache draws with no steerer anywhere near."""
    case = Case(name, steps=4)
    case.denoiser.enable_cache(CACHES[kind](case.pipe))
    return case.draw()


@works("Caches", "First-block cache, pyramid attention broadcast, FasterCache, TaylorSeer, MagCache",
       "attach first, then `enable_cache`; detach below the cache or after it; what is skipped keeps its steering",
       "flux flux_distilled")  # fmt: skip
@pytest.mark.parametrize("kind", ["first-block", "pyramid", "faster", "taylorseer", "mag"])
@pytest.mark.parametrize("sites", ["auto", "blocks"])
def test_caches(name, sites, kind):
    case = Case(name, sites, steps=4)
    plain = case.draw()
    assert not torch.equal(under_cache(name, kind), plain)
    attachment = case.steerer.attach(case.pipe)
    steered = case.draw()
    case.denoiser.enable_cache(CACHES[kind](case.pipe))
    cached = case.draw()
    assert cached.isfinite().all()
    assert torch.equal(case.draw(), cached)
    assert (cached - under_cache(name, kind)).abs().amax() > 0.01
    attachment.set_strength(0.0)
    assert torch.equal(case.draw(), under_cache(name, kind))
    attachment.set_strength(STRENGTH)
    assert torch.equal(case.draw(), cached)
    attachment.detach()
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), under_cache(name, kind))
    case.denoiser.disable_cache()
    assert torch.equal(case.draw(), plain)
    with case.steerer.attached(case.pipe):
        assert torch.equal(case.draw(), steered)
        case.denoiser.enable_cache(CACHES[kind](case.pipe))
        case.denoiser.disable_cache()
        assert torch.equal(case.draw(), steered)
    assert torch.equal(case.draw(), plain)


@works("Caches", "A run that dies under a cache", "after detaching the cache has forgotten what was steered", "flux")
@pytest.mark.parametrize("kind", ["first-block", "taylorseer"])
def test_a_run_that_dies_under_a_cache(name, kind):
    case = Case(name, "blocks", steps=4)
    with case.steerer.attached(case.pipe):
        case.denoiser.enable_cache(CACHES[kind](case.pipe))
        with pytest.raises(MemoryError):
            case.draw(callback_on_step_end=die)
    assert torch.equal(case.draw(), under_cache(name, kind))


@works("Caches", "Attaching under an enabled cache", "an error: disable the cache, attach, enable it again", "flux")
@pytest.mark.parametrize("kind", [*CACHES, "applied"])
def test_attaching_under_a_cache(name, kind):
    case = Case(name)
    if kind == "applied":
        apply_first_block_cache(case.denoiser, FirstBlockCacheConfig())
    else:
        case.denoiser.enable_cache(CACHES[kind](case.pipe))
    with pytest.raises(dsas.InputError, match=r"cache is enabled on this FluxTransformer2DModel.*disable_cache"):
        case.steerer.attach(case.pipe)
    assert_clean(case.pipe)


@works("Caches", "Another adapter under an enabled cache", "the same error; the first one steers as before", "flux")
def test_another_adapter_under_a_cache(name):
    case = Case(name, steps=4)
    dsas.load_steering(case.pipe, case.steerer, "first")
    case.denoiser.enable_cache(CACHES["first-block"](case.pipe))
    cached = case.draw()
    with pytest.raises(dsas.InputError, match="A cache is enabled"):
        dsas.load_steering(case.pipe, case.steerer, "second")
    assert dsas.get_active_steering(case.pipe).keys() == {"first"}
    assert torch.equal(case.draw(), cached)
    dsas.unload_steering(case.pipe)
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), under_cache(name, "first-block"))


@works("Caches", "FasterCache that skips the unconditional half", "an error in the first step that skips it", "sd3")
def test_a_cache_that_skips_rows(name):
    case = Case(name, steps=4)
    plain = pictures_of(name, steps=4)[0]
    config = FasterCacheConfig(
        unconditional_batch_skip_range=2, unconditional_batch_timestep_skip_range=(-1, 1001),
        spatial_attention_timestep_skip_range=(-2, -1), current_timestep_callback=lambda: 500,
        attention_weight_callback=lambda module: 0.5, tensor_format="BCHW",
        _unconditional_conditional_input_kwargs_identifiers=(
            "hidden_states", "encoder_hidden_states", "timestep", "pooled_projections"
        ),
    )  # fmt: skip
    with case.steerer.attached(case.pipe):
        apply_faster_cache(case.denoiser, config)
        with pytest.raises(dsas.InputError, match=r"runs with 2 rows, but the denoiser was called with 4"):
            case.draw()
    assert_clean(case.pipe)
    for hook in ("faster_cache_denoiser", "faster_cache_block"):
        case.denoiser._diffusers_hook.remove_hook(hook)
    assert torch.equal(case.draw(), plain)
