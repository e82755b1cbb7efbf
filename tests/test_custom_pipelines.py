"""The pipelines and the block under pipelines/, loaded as users load them."""

import dataclasses
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import ClassifierFreeGuidance, DiffusionPipeline, LayerSkipConfig, PerturbedAttentionGuidance
from diffusers.modular_pipelines import FluxAutoBlocks, ModularPipelineBlocks, StableDiffusionXLAutoBlocks
from diffusers.utils import dynamic_modules_utils
from tiny import hooks_left, open_steerer, tiny_pipeline
from zoo import FAMILIES, Family, draw

import dsas_diffusion as dsas
from dsas_diffusion.hooks.call_reader import CallReader
from dsas_diffusion.hooks.guidance import denoiser_of

PIPELINES = Path(__file__).parents[1] / "pipelines"
PROMPTS = ["zzz zuzu", "eee oror"]
PIXART = FAMILIES["pixart_sigma"]


def pixart_alpha(seed: int = 0) -> DiffusionPipeline:
    pipe = diffusers.PixArtAlphaPipeline(**PIXART.build(seed).components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


LENGTHLESS = {key: value for key, value in PIXART.generation.items() if key != "max_sequence_length"}
FILES = {
    "steered_sd": FAMILIES["sd"],
    "steered_sdxl": FAMILIES["sdxl"],
    "steered_sd3": FAMILIES["sd3_t5"],
    "steered_flux": FAMILIES["flux"],
    "steered_pixart_alpha": dataclasses.replace(PIXART, build=pixart_alpha, generation=LENGTHLESS),
    "steered_pixart_sigma": PIXART,
}


def test_every_custom_pipeline_has_a_family_to_be_tried_on():
    assert set(FILES) == {path.stem for path in PIPELINES.glob("steered_*.py")}


@pytest.fixture(scope="module", autouse=True)
def modules(tmp_path_factory):
    """Diffusers copies custom code into a folder of its own; here one that goes again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
        patch.setattr(sys, "path", [*sys.path])
        yield


@pytest.fixture(scope="module", params=FILES)
def file(request):
    return str(PIPELINES / f"{request.param}.py")


@pytest.fixture(scope="module")
def family(file):
    return FILES[Path(file).stem]


@pytest.fixture(scope="module")
def plain(family):
    return family.build()


@pytest.fixture(scope="module")
def steerer(family, plain):
    return open_steerer(plain, generation=family.generation)


@pytest.fixture(scope="module")
def repository(plain, tmp_path_factory):
    """A repository of the plain class, as published."""
    folder = tmp_path_factory.mktemp("repository")
    plain.save_pretrained(folder)
    return folder


@pytest.fixture
def pipe(repository, file):
    """The repository through the custom pipeline."""
    pipe = DiffusionPipeline.from_pretrained(repository, custom_pipeline=file, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_it_draws_what_the_plain_pipeline_draws_with_the_steerer_attached(family, plain, pipe, steerer, tmp_path):
    assert type(pipe).__name__ == f"Steered{type(plain).__name__}"
    same = type(plain)(**pipe.components)  # the very modules: where weights lie in memory shows in the last digit
    same.set_progress_bar_config(disable=True)
    unsteered = draw(family, same, PROMPTS)
    with steerer.attached(same):
        expected = draw(family, same, PROMPTS)
    assert torch.equal(draw(family, pipe, PROMPTS), unsteered)
    assert torch.allclose(draw(family, plain, PROMPTS), unsteered, atol=1e-5)
    pipe.load_steering(steerer.save_pretrained(tmp_path / "steerer"))
    assert torch.equal(draw(family, pipe, PROMPTS), expected)
    assert (expected - unsteered).abs().amax() > 0.1
    assert torch.equal(draw(family, pipe, PROMPTS, steering_strength=0), unsteered)
    mixed = draw(family, pipe, PROMPTS, steering_strength=[4.0, 0.0])
    assert torch.allclose(mixed[0], expected[0], atol=1e-5)
    assert torch.equal(mixed[1], unsteered[1])
    pipe.unload_steering()
    assert torch.equal(draw(family, pipe, PROMPTS), unsteered)
    assert hooks_left(pipe) == 0


def test_its_call_takes_a_strength_beside_what_the_plain_class_takes(plain, pipe):
    own, base = (inspect.signature(type(which).__call__).parameters for which in (pipe, plain))
    assert [name for name in own if name not in base] == ["steering_strength"]
    assert all(own[name] == base[name] for name in base)
    assert inspect.signature(type(pipe).__init__) == inspect.signature(type(plain).__init__)


def test_from_pipe_carries_the_components_both_ways(family, plain, pipe, file, steerer):
    # (Called on the base class, `DiffusionPipeline.from_pipe` gives custom pipelines (None, None) for an absent part.)
    for steered in (
        type(pipe).from_pipe(plain),
        type(plain).from_pipe(plain, custom_pipeline=file, trust_remote_code=True),
    ):
        assert type(steered).__name__ == type(pipe).__name__
        assert all(steered.components[name] is part for name, part in plain.components.items())
        steered.set_progress_bar_config(disable=True)
        steered.load_steering(steerer)
        with_steering = draw(family, steered, PROMPTS)
        back = type(plain).from_pipe(steered)  # shares the denoiser, so its steering as well
        assert type(back) is type(plain)
        with pytest.raises(dsas.InputError, match="steered already"):
            dsas.load_steering(back, steerer)
        steered.unload_steering()
        back.set_progress_bar_config(disable=True)
        assert not torch.equal(draw(family, back, PROMPTS), with_steering)
        dsas.load_steering(back, steerer)
        assert torch.equal(draw(family, back, PROMPTS), with_steering)
        dsas.unload_steering(back)


def test_from_pipe_keeps_the_precision_it_is_told(plain, pipe):
    """Without `dtype=` it casts what both pipelines share to float32."""
    half = pipe.to(torch.bfloat16)
    again = type(pipe).from_pipe(half, dtype=torch.bfloat16)
    assert {denoiser_of(which).dtype for which in (half, again)} == {torch.bfloat16}
    type(pipe).from_pipe(half)
    assert denoiser_of(half).dtype == torch.float32


def test_what_it_saves_is_a_plain_repository(family, plain, pipe, steerer, file, tmp_path):
    pipe.load_steering(steerer)
    pipe.save_pretrained(tmp_path)  # while steered
    pipe.unload_steering()
    unsteered = draw(family, pipe, PROMPTS)
    assert json.loads((tmp_path / "model_index.json").read_text())["_class_name"] == type(plain).__name__
    for settings in ({}, {"custom_pipeline": file, "trust_remote_code": True}):
        again = DiffusionPipeline.from_pretrained(tmp_path, **settings)
        assert type(again).__name__ == type(pipe if settings else plain).__name__
        again.set_progress_bar_config(disable=True)
        assert torch.allclose(draw(family, again, PROMPTS), unsteered, atol=1e-5)


class WithParts(dsas.SteeringMixin, diffusers.StableDiffusionPipeline):
    """A class with an `__init__` of its own is saved under its own name: the plain one may not load its parts."""

    def __init__(self, vae, text_encoder, tokenizer, unet, scheduler, safety_checker, feature_extractor):
        super().__init__(vae, text_encoder, tokenizer, unet, scheduler, safety_checker, feature_extractor, None, False)


def test_a_class_with_parts_of_its_own_keeps_its_name():
    parts = {name: part for name, part in tiny_pipeline().components.items() if name != "image_encoder"}
    assert json.loads(WithParts(**parts).to_json_string())["_class_name"] == "WithParts"


@pytest.fixture(scope="module", params=[("sdxl", StableDiffusionXLAutoBlocks), ("flux_distilled", FluxAutoBlocks)])
def modular(request) -> tuple[Family, dsas.Steerer, DiffusionPipeline, Callable[..., torch.Tensor]]:
    """A modular pipeline with the block, its steerer, and how it draws."""
    name, kind = request.param
    family = FAMILIES[name]
    parts = family.build()
    blocks = kind()
    blocks.sub_blocks["denoise"] = ModularPipelineBlocks.from_pretrained(
        str(PIPELINES / "modular_steering"), trust_remote_code=True, denoise=blocks.sub_blocks["denoise"]
    )
    pipe = blocks.init_pipeline()
    found = {name: part for name, part in parts.components.items() if name in pipe.component_names and part is not None}
    pipe.update_components(**found)
    if "guider" in pipe.component_names:
        pipe.update_components(guider=ClassifierFreeGuidance(guidance_scale=4.0))
    call = {key: value for key, value in family.generation.items() if key in pipe.blocks.input_names}

    def drawn(**settings):
        settings = {**call, "generator": torch.Generator().manual_seed(0), "output": "images", **settings}
        return pipe(prompt=PROMPTS, output_type="pt", **settings)

    return family, open_steerer(parts, generation=family.generation), pipe, drawn


def test_the_block_steers_a_modular_pipeline_and_leaves_no_hook(modular, tmp_path):
    _, steerer, pipe, drawn = modular
    unsteered = drawn()
    steered = drawn(steering=str(steerer.save_pretrained(tmp_path / "steerer")))
    assert (steered - unsteered).abs().amax() > 0.1
    assert torch.equal(drawn(steering=steerer, steering_strength=4.0), steered)
    assert torch.equal(drawn(steering=steerer, steering_strength=0), unsteered)
    mixed = drawn(steering=steerer, steering_strength=[4.0, 0.0])
    assert torch.equal(mixed[1], unsteered[1])
    assert torch.allclose(mixed[0], steered[0], atol=1e-5)
    assert torch.equal(drawn(), unsteered)
    with pytest.raises(dsas.InputError, match="nothing to steer with"):
        drawn(steering_strength=1.0)
    with pytest.raises(dsas.InputError, match="strength has 3 numbers"):  # while it denoises
        drawn(steering=steerer, steering_strength=[1.0, 2.0, 3.0])
    assert hooks_left(pipe) == 0
    assert "denoise" in pipe.blocks.get_workflow("text2image").sub_blocks


def test_a_modular_pipeline_draws_as_the_standard_one(modular):
    family, steerer, pipe, drawn = modular
    standard = getattr(diffusers, type(family.build()).__name__)
    with steerer.attached(pipe):
        modular_picture = drawn()
    given = {name: part for name, part in pipe.components.items() if name in inspect.signature(standard).parameters}
    same = standard(**given)
    same.set_progress_bar_config(disable=True)
    settings = {**family.generation, "generator": torch.Generator().manual_seed(0), "output_type": "pt"}
    with steerer.attached(same):
        picture = same(prompt=PROMPTS, **settings)[0]
    assert torch.allclose(picture, modular_picture, atol=1e-4)


@pytest.mark.parametrize(
    "modular", [("sdxl", StableDiffusionXLAutoBlocks)], indirect=True
)  # FLUX's modular pipeline has no guider
def test_a_third_prediction_of_a_guider_is_of_the_same_step(modular):
    """Perturbed attention guidance predicts from the prompt twice, from its second step on."""
    _, _, pipe, drawn = modular
    layers = LayerSkipConfig([0], "down_blocks.1.attentions.0.transformer_blocks", False, True, False)
    always = {"perturbed_guidance_start": 0.0, "perturbed_guidance_stop": 1.0}
    before, calls = pipe.guider, []
    pipe.update_components(guider=PerturbedAttentionGuidance(4.0, perturbed_guidance_config=layers, **always))
    try:
        with CallReader(pipe, calls.append):
            drawn(num_inference_steps=3)
    finally:
        pipe.update_components(guider=before)
    assert [call.step for call in calls] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [call.conditional.stop > 0 for call in calls] == [True, False, True, False, True, True, False, True]
