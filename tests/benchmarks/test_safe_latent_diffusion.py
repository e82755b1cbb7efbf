"""Safe Latent Diffusion against Diffusers' own pipeline, which it shares no code with."""

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.pipelines.deprecated.stable_diffusion_safe.pipeline_stable_diffusion_safe import (
    StableDiffusionPipelineSafe,
)
from tiny import tiny_concept, tiny_pipeline

from benchmarks.baselines.safe_latent_diffusion import PRESETS, SafeLatentDiffusion
from dsas_diffusion.errors import InputError
from dsas_diffusion.sweeps.technique import Conditions

PROMPTS = ["zzz zuzu k", "eee zzz b"]
STEPS = 6
ASKED = {"num_inference_steps": STEPS, "guidance_scale": 4.0, "height": 16, "width": 16}


class _Safe(StableDiffusionPipelineSafe):
    """The oracle, with its own concept, and latents where it would decode them for AutoencoderKL."""

    def decode_latents(self, latents):
        return latents.cpu().permute(0, 2, 3, 1).float().numpy()


@pytest.fixture(params=["epsilon", "v_prediction"])
def pipe(request):
    made = tiny_pipeline()
    made.scheduler = DDIMScheduler(steps_offset=1, clip_sample=False, prediction_type=request.param)
    return made


def generators():
    return [torch.Generator().manual_seed(index) for index in range(len(PROMPTS))]


@pytest.mark.parametrize(("preset", "strength"), [("medium", 1.0), ("strong", 0.004), ("max", 1.0), ("weak", 1000.0)])
def test_latents_are_those_of_diffusers_pipeline(pipe, preset, strength, tmp_path):
    safety = PRESETS[preset]
    technique = SafeLatentDiffusion(preset, words="label")
    technique.prepare(pipe, [tiny_concept()], Conditions(), tmp_path / "x")
    with technique.applied(pipe, strength) as arguments:
        found = pipe(**arguments(PROMPTS), generator=generators(), output_type="latent", **ASKED).images
    parts = {name: pipe.components[name] for name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")}
    oracle = _Safe(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    oracle.set_progress_bar_config(disable=True)
    oracle.safety_concept = "zzz"
    expected = oracle(
        PROMPTS,
        generator=generators(),
        output_type="np",
        sld_guidance_scale=strength * safety.guidance,
        sld_warmup_steps=round(safety.warmup * STEPS),
        sld_threshold=safety.threshold,
        sld_momentum_scale=safety.momentum,
        sld_mom_beta=safety.decay,
        **ASKED,
    ).images
    plain = pipe(PROMPTS, generator=generators(), output_type="latent", **ASKED).images
    change = (found - plain).norm()
    assert change > 1e-4 * plain.norm()
    assert (found - torch.from_numpy(expected).permute(0, 3, 1, 2)).norm() < 0.01 * change


def test_a_call_that_broke_off_leaves_the_next_no_momentum(pipe, tmp_path):
    technique = SafeLatentDiffusion("max", words="label")
    technique.prepare(pipe, [tiny_concept()], Conditions(), tmp_path / "x")

    def stop(pipe, step, timestep, kwargs):
        if step == 2:
            raise ZeroDivisionError
        return {}

    def drawn(**more):
        return pipe(PROMPTS, generator=generators(), output_type="latent", **ASKED, **more).images

    with technique.applied(pipe, 1.0):
        expected = drawn()
        with pytest.raises(ZeroDivisionError):
            drawn(callback_on_step_end=stop)
        assert torch.equal(drawn(), expected)


def test_drawing_without_guidance_is_refused(pipe, tmp_path):
    technique = SafeLatentDiffusion()
    technique.prepare(pipe, [tiny_concept()], Conditions(), tmp_path / "x")
    with technique.applied(pipe, 1.0), pytest.raises(InputError, match="guidance_scale above 1"):
        pipe(PROMPTS, generator=generators(), **{**ASKED, "guidance_scale": 1.0})


def test_settings_stand_in_the_place_of_the_presets():
    safety = SafeLatentDiffusion("medium", guidance=5.0, warmup=0.0).safety
    assert (safety.guidance, safety.warmup, safety.threshold) == (5.0, 0.0, 0.01)
    with pytest.raises(InputError, match="Did you mean 'strong'"):
        SafeLatentDiffusion("stong")
    with pytest.raises(InputError, match="decay from 0 to below 1"):
        SafeLatentDiffusion(decay=1.0)
