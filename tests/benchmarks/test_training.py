"""ESD and Concept Sliders: what they are trained towards by hand, and that training leads there."""

import pytest
import torch
from baselines import ON_DIT
from diffusers import DDIMScheduler
from safetensors.torch import load_file
from tiny import GENERATION, tiny_concept, tiny_pipeline
from untrained import untrained_dit

from benchmarks.baselines.esd import Esd, goal_of
from benchmarks.baselines.lora_slider import LoraSlider
from benchmarks.baselines.lora_slider import goal_of as slider_goal
from benchmarks.baselines.moments import moments_of, text_layers
from benchmarks.baselines.texts import encoded
from dsas_diffusion.errors import InputError
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.sweeps.technique import Conditions

PROMPTS = ["zzz zuzu k", "zzz b"]


@pytest.mark.parametrize(("make", "generation"), [(tiny_pipeline, GENERATION), (untrained_dit, ON_DIT)])
def test_moments_are_the_latents_of_a_run_and_what_the_denoiser_says_there(make, generation):
    pipe = make(small=True) if make is untrained_dit else make()
    settings = {name: value for name, value in generation.items() if name == "max_sequence_length"}
    moments = moments_of(pipe, PROMPTS, [5, 6], generation, 1, 3.0)
    assert moments.prompt.tolist() == [0, 0, 1, 1]
    kept = []
    pipe(
        PROMPTS[1],
        generator=torch.Generator().manual_seed(6),
        callback_on_step_end=lambda p, i, t, kwargs: kept.append(kwargs["latents"]) or {},
        **{**generation, "guidance_scale": 3.0, "output_type": "latent"},
    )
    assert torch.allclose(moments.sample[3], kept[0][0], atol=1e-4)
    rows = torch.arange(len(moments))
    with torch.no_grad():
        assert torch.allclose(moments.ask(denoiser_of(pipe)), moments.text, atol=1e-4)
        empty = encoded(pipe, [""] * len(moments), settings)
        assert torch.allclose(moments.at(rows).ask(denoiser_of(pipe), empty), moments.empty, atol=1e-4)
    assert not torch.allclose(moments.text, moments.empty, atol=1e-4)


def test_esds_goal_in_v_is_its_goal_in_noise():
    """ε = a v + b x at every step; the goal must not depend on which of the two the model predicts."""
    pipe = tiny_pipeline()
    pipe.scheduler = DDIMScheduler(steps_offset=1, clip_sample=False, prediction_type="v_prediction")
    moments = moments_of(pipe, PROMPTS, [0, 1], GENERATION, 2, 3.0)
    signal = pipe.scheduler.alphas_cumprod[moments.timestep].sqrt().view(-1, 1, 1, 1)
    noise = (1 - signal**2).sqrt()

    def in_noise(v):
        return signal * v + noise * moments.sample

    eta = 1.7
    by_hand = in_noise(moments.empty) - eta * (in_noise(moments.text) - in_noise(moments.empty))
    assert torch.allclose(in_noise(goal_of(moments, eta)), by_hand, atol=1e-4)


def loss_at(pipe, technique, moments, goal, strength):
    with torch.no_grad(), technique.applied(pipe, strength):
        return float((moments.ask(denoiser_of(pipe)) - goal).square().mean())


def test_esd_comes_closer_to_its_goal_by_cross_attention_alone(tmp_path):
    pipe = tiny_pipeline()
    technique = Esd(runs=5, steps=40, batch=5, rate=3e-3, eta=2.0)
    technique.prepare(pipe, [tiny_concept()], Conditions(seed=3, generation=GENERATION), tmp_path / "x")
    moments = moments_of(pipe, tiny_concept().texts("source"), range(3, 8), GENERATION, 16, 3.0)
    by_hand = 3 * moments.empty - 2 * moments.text
    assert loss_at(pipe, technique, moments, by_hand, 1.0) < 0.7 * loss_at(pipe, technique, moments, by_hand, 0.0)
    changes = load_file(tmp_path / "x" / "change.safetensors")
    assert {name.rpartition(".")[0] for name in changes} == set(text_layers(pipe.unet))
    assert all(".attn2." in name for name in changes)
    name, weight = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", {}
    for strength in (0.0, 1.0, 3.0):
        with technique.applied(pipe, strength):
            weight[strength] = pipe.unet.get_parameter(name).detach().clone()
    assert torch.allclose(weight[3.0] - weight[0.0], 3 * changes[name], atol=1e-5)
    assert torch.allclose(weight[1.0] - weight[0.0], changes[name], atol=1e-5)


def test_the_slider_comes_closer_to_its_goal_and_its_scale_is_the_strength(tmp_path):
    pipe, concept = tiny_pipeline(), tiny_concept()
    technique = LoraSlider(runs=5, steps=60, batch=5, rate=1e-2, eta=1.0)
    technique.prepare(pipe, [concept], Conditions(seed=3, generation=GENERATION), tmp_path / "x")
    moments = moments_of(pipe, concept.texts("source"), range(3, 8), GENERATION, 16, 3.0)
    source, target = (
        encoded(pipe, [concept.texts(group)[int(n)] for n in moments.prompt], {}) for group in ("source", "target")
    )
    goal = slider_goal(pipe.unet, moments, source, target, 1.0)
    with torch.no_grad():  # with c = c₊ and η = 1 the goal is the target's own prediction
        assert torch.allclose(goal, moments.ask(pipe.unet, target), atol=1e-4)
    assert loss_at(pipe, technique, moments, goal, 1.0) < 0.8 * loss_at(pipe, technique, moments, goal, 0.0)
    state = load_file(tmp_path / "x" / "lora.safetensors")
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    change = state[f"{name}.lora_B.weight"] @ state[f"{name}.lora_A.weight"]  # α / r = 1
    inputs, layer = torch.randn(3, 32, generator=torch.Generator().manual_seed(0)), pipe.unet.get_submodule(name)
    for strength in (1.0, 2.5):
        with torch.no_grad(), technique.applied(pipe, strength):
            moved = pipe.unet.get_submodule(name)(inputs)
        assert torch.allclose(moved, inputs @ (layer.weight + strength * change).T, atol=1e-5)


def test_the_slider_is_trained_on_the_prompts_that_it_is_given(tmp_path):
    pipe, concept = tiny_pipeline(), tiny_concept()
    learned = [
        LoraSlider(given=given, runs=4, steps=2, rate=0.1).learned(pipe, [concept], Conditions(generation=GENERATION))
        for given in ("source", "target", "both")
    ]
    name = next(name for name in learned[0] if "lora_B" in name)
    assert len({one[name].sum().item() for one in learned}) == 3


def test_a_denoiser_with_loras_of_its_own_is_refused(tmp_path):
    pipe = tiny_pipeline()
    technique = LoraSlider(runs=2, steps=1)
    technique.prepare(pipe, [tiny_concept()], Conditions(generation=GENERATION), tmp_path / "x")
    with technique.applied(pipe, 1.0):
        with pytest.raises(InputError, match="carries LoRAs already"), technique.applied(pipe, 1.0):
            pass
        assert "slider" in pipe.unet.peft_config


@pytest.mark.parametrize("kind", [Esd, LoraSlider])
def test_settings_out_of_range_are_refused(kind, tmp_path):
    for wrong in ({"steps": 0}, {"eta": 0}, {"rate": -1.0}):
        with pytest.raises(InputError, match="accepted are numbers above 0"):
            kind(**wrong)
    with pytest.raises(InputError, match="need guidance"):
        kind(guidance=1.0).prepare(tiny_pipeline(), [tiny_concept()], Conditions(generation=GENERATION), tmp_path / "x")
    assert not list(tmp_path.iterdir())
