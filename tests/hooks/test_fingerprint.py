"""Another model than that of the fit is refused by its first difference; the same one in another shape is not."""

import copy

import pytest
import torch
from accelerate import cpu_offload
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from tiny import GENERATION, draw, tiny_concept, tiny_pipeline

from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.hooks.fingerprint import check_fingerprint, fingerprint
from dsas_diffusion.hooks.sites import find_sites


@pytest.fixture(scope="module")
def unet():
    return tiny_pipeline().unet


@pytest.fixture(scope="module")
def told(unet):
    return fingerprint(unet, find_sites(unet, "auto"))


def test_another_class_is_named(unet, told):
    with pytest.raises(InputError, match="its class is UNet2DConditionModel, not FluxTransformer2DModel"):
        check_fingerprint(unet, {**told, "class": "FluxTransformer2DModel"}, "banana")


def test_another_width_is_named(told):
    with pytest.raises(InputError, match=r"block_out_channels is \[16, 32\], not \[32, 64\].*fit it again"):
        check_fingerprint(tiny_pipeline(width=16).unet, told, "banana")


def test_a_missing_site_is_named(unet, told):
    gone = {**told["sites"][0], "path": "mid_block.gone"}
    with pytest.raises(InputError, match=r"its site mid_block\.gone is missing"):
        check_fingerprint(unet, {**told, "sites": [*told["sites"], gone]}, "banana")


def test_a_setting_that_this_diffusers_does_not_know_is_named(unet, told):
    with pytest.raises(InputError, match="it has no setting rope, which was 3"):
        check_fingerprint(unet, {**told, "config": {**told["config"], "rope": 3}}, "banana")


def test_how_weights_are_kept_is_no_setting_of_the_model(unet, told):
    check_fingerprint(unet, {**told, "config": {**told["config"], "quantization_config": "int8"}}, "banana")
    quantised = copy.deepcopy(unet)
    quantised.register_to_config(quantization_config="int8")
    assert fingerprint(quantised, [])["config_digest"] == told["config_digest"]


def test_another_revision_is_named_with_two_ways_on(told):
    expected = {**told, "id": "owner/base", "revision": "c0ffee"}
    with pytest.raises(
        InputError, match=r"other weights.*revision it was fitted on \(owner/base at c0ffee\).*taken_to"
    ):
        check_fingerprint(tiny_pipeline(seed=1).unet, expected, "banana")


def test_a_light_fine_tune_is_other_weights(unet, told):
    tuned = copy.deepcopy(unet)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 0.02 * parameter.std().nan_to_num() + 1e-3
    with pytest.raises(InputError, match="other weights"):
        check_fingerprint(tuned, told, "banana")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_same_model_either_way(unet, told, dtype):
    half = copy.deepcopy(unet).to(dtype)
    check_fingerprint(half, told, "banana")
    check_fingerprint(unet, fingerprint(half, []), "banana")
    other = torch.float16 if dtype is torch.bfloat16 else torch.bfloat16
    check_fingerprint(copy.deepcopy(unet).to(other), fingerprint(half, []), "banana")


def with_lora(unet, **settings):
    """An adapter of PEFT's, with vectors of its own beside the matrices."""
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_out.0", "linear_1"], **settings))
    return unet


def with_lora_biases(unet):
    return with_lora(unet, lora_bias=True)


def with_dora(unet):
    return with_lora(unet, use_dora=True)


def with_fused_lora(unet):
    with torch.no_grad():
        for module in unet.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight += 0.1 * torch.ones(len(module.weight), 1) @ torch.ones(1, module.weight.shape[1])
    return unet


def offloaded(unet):
    cpu_offload(unet, execution_device="cpu")
    return unet


def joined(unet):
    unet.fuse_qkv_projections()
    return unet


@pytest.mark.parametrize("change", [with_lora, with_lora_biases, with_dora, with_fused_lora, offloaded, joined])
def test_adapters_and_offloading_are_the_same_model(told, change):
    changed = change(tiny_pipeline().unet)
    check_fingerprint(changed, {**told, "sites": []}, "banana")
    check_fingerprint(tiny_pipeline().unet, fingerprint(changed, []), "banana")
    with pytest.raises(InputError, match="other weights"):
        check_fingerprint(tiny_pipeline(seed=1).unet, told, "banana")


def test_offloaded_weights_are_not_looked_at(told):
    assert fingerprint(offloaded(tiny_pipeline().unet), [])["weights"] == {}
    check_fingerprint(offloaded(tiny_pipeline(seed=1).unet), {**told, "sites": []}, "banana")


def test_where_a_model_came_from_is_read_off_the_hubs_cache(unet, tmp_path):
    commit = "0123456789abcdef" * 2 + "01234567"
    for place in (
        f"/cache/models--owner--base-1.5/snapshots/{commit}/unet",
        f"C:\\models--owner--base-1.5\\snapshots\\{commit}",
    ):
        other = UNet2DConditionModel.from_config({**unet.config, "_name_or_path": place})
        other.register_to_config(_name_or_path=place)
        assert (fingerprint(other, [])["id"], fingerprint(other, [])["revision"]) == ("owner/base-1.5", commit)
    for place, name in (("owner/base", "owner/base"), (str(tmp_path), ""), ("/gone/base", "")):
        other.register_to_config(_name_or_path=place)
        assert (fingerprint(other, [])["id"], fingerprint(other, [])["revision"]) == (name, "")


def test_a_steerer_is_taken_to_a_relative_on_purpose():
    pipe, relative = tiny_pipeline(), tiny_pipeline(seed=1)
    # Without a gate: one that was learned on the other weights stays shut here.
    steerer = fit(pipe, tiny_concept(), gate="always", tau=0.5, generation=GENERATION, progress=False)
    with pytest.raises(InputError, match="other weights"):
        steerer.attach(relative)
    taken = steerer.taken_to(relative)
    plain = draw(relative, ["zzz zuzu"])
    with taken.attached(relative):
        assert not torch.equal(draw(relative, ["zzz zuzu"]), plain)
    with pytest.raises(InputError, match="other weights"):
        taken.attach(pipe)
    assert "Fitted on other weights" in taken.model_card()
    assert "Fitted on other weights" not in steerer.model_card()
    with pytest.raises(InputError, match="another model"):
        steerer.taken_to(tiny_pipeline(width=16))
