"""Guidance in all its forms: which rows of which call are steered."""

import diffusers
import pytest
import torch
from tiny import STRENGTH, open_steerer
from works import works
from zoo import text
from zoo.family import enliven
from zoo.unets import _unet_sizes

from compatibility.case import PROMPTS, QUIET, Case, outputs_of, seeds

pytestmark = QUIET


@works("Guidance", "Classifier-free guidance, both halves in one call", "only rows that follow the prompt are steered",
       "sd zimage sdxl sd3 sana")  # fmt: skip
def test_guidance_in_one_call(name):
    case = Case(name)
    expected = "1100" if name == "zimage" else "0011"
    assert case.rows(case.draw)[0] == expected


@works("Guidance", "Classifier-free guidance in two calls", "only the call with the prompt is steered",
       "flux lumina2 qwenimage wan")  # fmt: skip
def test_guidance_in_two_calls(name):
    case = Case(name)
    assert case.rows(case.draw)[:2] == ["11", "00"]


@works("Guidance", "No guidance", "every row is steered", "sd flux sdxl sd3 flux_distilled lumina2 zimage")
def test_no_guidance(name):
    case = Case(name)
    assert case.rows(lambda: case.draw(**case.family.unguided))[0] == "11"


@works("Guidance", "Negative prompts, one for all or one for each", "they stay unsteered", "sd zimage sdxl sd3")
@pytest.mark.parametrize("negative", ["bad", ["bad", "worse"]], ids=["one", "each"])
def test_negative_prompts(name, negative):
    case = Case(name)
    first = "1100" if name == "zimage" else "0011"

    def call() -> torch.Tensor:  # a copy each time, since Z-Image's pipeline writes into the list that it is given
        return case.draw(negative_prompt=negative if isinstance(negative, str) else list(negative))

    assert case.rows(call)[0] == first


@works("Guidance", "One negative prompt for several prompts, where the text then has fewer rows than the latents",
       "rows are those of the latents", "flux qwenimage")  # fmt: skip
def test_a_negative_prompt_with_fewer_rows(name):
    case = Case(name)
    handed = []
    handle = case.denoiser.register_forward_pre_hook(
        lambda m, args, given: (
            handed.append((len(given["hidden_states"]), len(given["encoder_hidden_states"]))) and None
        ),
        with_kwargs=True,
    )
    settings = {**case.family.generation, "output_type": "pt"}
    found = case.rows(lambda: case.pipe(prompt=PROMPTS, generator=seeds(), **settings), strength=[0.0, STRENGTH])
    handle.remove()
    assert handed[1] == (2, 1)
    assert found[:2] == ["01", "00"]


@works("Guidance", "Perturbed-attention guidance, with classifier-free guidance and without",
       "the perturbed rows follow the prompt, and are steered with it")  # fmt: skip
@pytest.mark.parametrize(("scale", "expected"), [(4.0, "000101"), (0.0, "0101")], ids=["guided", "alone"])
def test_perturbed_attention_guidance(scale, expected):
    case = Case("sd")
    case.pipe = diffusers.StableDiffusionPAGPipeline(
        **case.pipe.components, pag_applied_layers=["mid"], requires_safety_checker=False
    )
    case.pipe.set_progress_bar_config(disable=True)
    settings = {**case.family.generation, "guidance_scale": scale, "pag_scale": 3.0, "output_type": "pt"}
    found = case.rows(lambda: case.pipe(PROMPTS, generator=seeds(), **settings), strength=[0.0, STRENGTH])
    assert found[0] == expected


@works("Guidance", "Skip-layer guidance", "its third prediction follows the prompt, and is steered", "sd3")
def test_skip_layer_guidance(name):
    case = Case(name)
    settings = {"skip_guidance_layers": [1], "skip_layer_guidance_start": -1.0, "skip_layer_guidance_stop": 1.0}
    with outputs_of(case.denoiser.transformer_blocks[1].attn) as skipped:
        found = case.rows(lambda: case.draw(num_inference_steps=1, **settings))
    with case.steerer.attached(case.pipe, record_gates=True) as run:
        case.draw(num_inference_steps=2, **settings)
    assert {len(maps) for maps in run.gate_maps().values()} == {2}  # steps, however many predictions each had
    assert found == ["0011", "11"]
    assert [len(output) for output in skipped] == [4, 4]  # not in the third


@works("Guidance", "InstructPix2Pix, three predictions in one call", "the one with prompt and picture is steered")
@pytest.mark.filterwarnings("ignore:You have passed")
def test_three_predictions_in_one_call():
    case = Case("sd")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = diffusers.UNet2DConditionModel(**_unet_sizes(8), cross_attention_dim=text.WIDTH, attention_head_dim=2)
        enliven(unet)
    parts = {**case.pipe.components, "unet": unet.eval()}
    case.pipe = diffusers.StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    case.pipe.set_progress_bar_config(disable=True)
    settings = {"image": torch.rand(1, 3, 24, 16, generator=seeds()[0]), "num_inference_steps": 2}
    settings |= {"guidance_scale": 4.0, "image_guidance_scale": 2.0}
    case.steerer = open_steerer(case.pipe, generation=settings)
    found = case.rows(lambda: case.pipe(PROMPTS, generator=seeds(), output_type="pt", **settings))
    assert found[0] == "110000"


@works("Guidance", "Guidance that a callback switches off during a run", "the rows that are left are steered", "sd")
def test_guidance_switched_off_by_a_callback(name):
    from diffusers.callbacks import SDCFGCutoffCallback

    case = Case(name)
    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)  # it keeps one prompt alone
    assert case.rows(lambda: case.draw(PROMPTS[:1], callback_on_step_end=cutoff)) == ["01", "1"]


@works("Guidance", "`cfg_truncation` and `cfg_trunc_ratio`: no guidance in the later steps",
       "the rows that are left are steered", "zimage lumina2")  # fmt: skip
def test_guidance_that_ends_early(name):
    case = Case(name, steps=3)
    settings = {"cfg_truncation": 0.5} if name == "zimage" else {"cfg_trunc_ratio": 0.5}
    found = case.rows(lambda: case.draw(**settings))
    assert found == (["1100", "1111", "11"] if name == "zimage" else ["11", "00", "11", "11"])


@works("Guidance", "Image-to-image", "the text-to-image pipeline's steerer serves: they share a denoiser", "sd")
def test_image_to_image(name):
    case = Case(name)
    case.pipe = diffusers.StableDiffusionImg2ImgPipeline(**case.pipe.components, requires_safety_checker=False)
    case.pipe.set_progress_bar_config(disable=True)
    settings = {**case.family.generation, "image": torch.rand(1, 3, 24, 16, generator=seeds()[0]), "strength": 1.0}
    drawn = [lambda: case.pipe(PROMPTS, generator=seeds(), output_type="pt", **settings)]
    assert case.rows(drawn[0])[0] == "0011"
    with case.steerer.attached(case.pipe, 0.0):
        unsteered = drawn[0]().images
    assert torch.equal(unsteered, drawn[0]().images)


@works("Guidance", "ControlNet", "as the pipeline without it", "sd")
def test_controlnet(name):
    case = Case(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        control = diffusers.ControlNetModel.from_unet(
            case.pipe.unet, conditioning_channels=3, conditioning_embedding_out_channels=(8, 8)
        )
        enliven(control)
    parts = {**case.pipe.components, "controlnet": control.eval()}
    case.pipe = diffusers.StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
    case.pipe.set_progress_bar_config(disable=True)
    settings = {**case.family.generation, "image": torch.ones(1, 3, 24, 16), "output_type": "pt"}
    assert case.rows(lambda: case.pipe(PROMPTS, generator=seeds(), **settings))[0] == "0011"
