"""Steering inside a real pipeline: exact when off, gone when detached, the right rows and prompts."""

import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from tiny import draw, tiny_concept, tiny_pipeline

from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting import fit
from dsas_diffusion.hooks.sites import find_sites

PROMPTS = ["zzz zuzu", "eee oror"]


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def steerer(pipe):
    from tiny import GENERATION

    return fit(pipe, tiny_concept(), gate="logistic", tau=0.5, generation=GENERATION, progress=False, batch_size=4)


@pytest.fixture(scope="module")
def plain(pipe):
    return draw(pipe, PROMPTS)


def hooks_left(pipe) -> int:
    own = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipe.unet.modules())
    return own + sum(len(m._diffusers_hook.hooks) for m in pipe.unet.modules() if hasattr(m, "_diffusers_hook"))


def test_strength_zero_is_bit_exact(pipe, steerer, plain):
    with steerer.attached(pipe, strength=0):
        assert torch.equal(draw(pipe, PROMPTS), plain)


def test_strength_changes_pictures_and_detaching_restores_them(pipe, steerer, plain):
    with steerer.attached(pipe, strength=3):
        assert not torch.equal(draw(pipe, PROMPTS), plain)
    assert hooks_left(pipe) == 0
    assert torch.equal(draw(pipe, PROMPTS), plain)


def test_an_exception_inside_leaves_the_pipeline_clean(pipe, steerer, plain):
    def interrupt(*_: object) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), steerer.attached(pipe, strength=3):
        draw(pipe, PROMPTS, callback_on_step_end=interrupt)
    assert hooks_left(pipe) == 0
    assert torch.equal(draw(pipe, PROMPTS), plain)


def test_each_prompt_has_its_own_strength(pipe, steerer, plain):
    with steerer.attached(pipe, strength=3):
        full = draw(pipe, PROMPTS)
    with steerer.attached(pipe, strength=[3, 0]):
        mixed = draw(pipe, PROMPTS)
    assert torch.equal(mixed[0], full[0])
    assert torch.equal(mixed[1], plain[1])


def test_pictures_of_one_prompt_share_its_strength(pipe, steerer):
    def two_each() -> torch.Tensor:
        generators = [torch.Generator().manual_seed(i) for i in range(4)]
        return draw(pipe, PROMPTS, num_images_per_prompt=2, generator=generators)

    def draw(pipe, prompts, **settings):
        from tiny import GENERATION

        return pipe(prompts, output_type="pt", **GENERATION, **settings).images

    plain = two_each()
    with steerer.attached(pipe, strength=[0, 3]):
        steered = two_each()
    assert torch.equal(steered[:2], plain[:2])
    assert (steered[2] != plain[2]).any()
    assert (steered[3] != plain[3]).any()


@pytest.mark.parametrize("guidance_scale", [1.0, 4.0])
def test_only_conditional_rows_are_steered(pipe, steerer, guidance_scale):
    seen: dict[bool, list[torch.Tensor]] = {False: [], True: []}
    path = next(iter(steerer.sites))
    module = pipe.unet.get_submodule(path)

    def look(steered: bool):
        return module.register_forward_hook(lambda m, args, output: seen[steered].append(output.clone()) and None)

    handle = look(False)
    draw(pipe, PROMPTS, num_inference_steps=1, guidance_scale=guidance_scale)
    handle.remove()
    with steerer.attached(pipe, strength=3):
        handle = look(True)
        draw(pipe, PROMPTS, num_inference_steps=1, guidance_scale=guidance_scale)
        handle.remove()
    before, after = seen[False][0], seen[True][0]
    conditional = slice(2, 4) if guidance_scale > 1 else slice(0, 2)
    assert len(before) == (4 if guidance_scale > 1 else 2)
    if guidance_scale > 1:
        assert torch.equal(before[:2], after[:2])
    assert all((before[conditional][i] != after[conditional][i]).any() for i in range(2))


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), "3", [], [1.0, float("nan")], None.__class__])
def test_strength_that_is_no_finite_number_is_refused_before_anything_is_attached(pipe, steerer, strength):
    with pytest.raises(InputError, match="strength must be a finite number"):
        steerer.attach(pipe, strength=strength)
    assert hooks_left(pipe) == 0


def test_strengths_that_do_not_fit_the_batch_are_refused_and_leave_nothing(pipe, steerer):
    with pytest.raises(InputError, match="strength has 3 numbers"), steerer.attached(pipe, strength=[1, 2, 3]):
        draw(pipe, PROMPTS)
    assert hooks_left(pipe) == 0


def test_a_second_steerer_on_one_denoiser_is_refused(pipe, steerer):
    handle = steerer.attach(pipe)
    try:
        with pytest.raises(InputError, match="steered already"):
            steerer.attach(pipe)
    finally:
        handle.detach()
    handle.detach()
    assert hooks_left(pipe) == 0


def test_another_model_is_refused_by_its_first_difference(steerer):
    with pytest.raises(InputError, match="block_out_channels is"):
        steerer.attach(tiny_pipeline(width=16))


@pytest.mark.parametrize("broken", [lambda pipe: torch.nn.Identity(), lambda pipe: None])
def test_a_pipeline_whose_denoiser_is_no_unet_is_refused(steerer, broken):
    pipe = tiny_pipeline()
    pipe.unet = broken(pipe)
    with pytest.raises(InputError, match=r"whose unet is a|This is StableDiffusionPipeline"):
        steerer.attach(pipe)


def test_a_pipeline_with_other_rows_is_refused(pipe, steerer):
    other = StableDiffusionInstructPix2PixPipeline(**pipe.components, requires_safety_checker=False)
    with pytest.raises(InputError, match="This is StableDiffusionInstructPix2PixPipeline"):
        steerer.attach(other)


def test_steering_tensors_stay_out_of_the_model(pipe, steerer):
    names = set(pipe.unet.state_dict())
    with steerer.attached(pipe):
        assert set(pipe.unet.state_dict()) == names


def test_compiled_model_is_steered_as_the_eager_one():
    pipe = tiny_pipeline(seed=3)
    from tiny import GENERATION

    steerer = fit(pipe, tiny_concept(), gate="logistic", tau=0.5, generation=GENERATION, progress=False)
    with steerer.attached(pipe, strength=2):
        eager = draw(pipe, PROMPTS)
        pipe.unet.compile(backend="eager")
        assert torch.allclose(draw(pipe, PROMPTS), eager, atol=1e-4)


def test_sites_by_preset_path_and_pattern(pipe):
    every = [site.path for site in find_sites(pipe.unet, ["blocks", "auto", "cross-attention"])]
    crossed = [site.path for site in find_sites(pipe.unet, "cross-attention")]
    blocks = [site.path for site in find_sites(pipe.unet, "blocks")]
    assert sorted(every) == sorted(crossed + blocks)
    assert len(crossed) == len(blocks) == 4  # one down, one mid, two up
    assert [s.path for s in find_sites(pipe.unet, crossed[0])] == crossed[:1]
    assert {s.path for s in find_sites(pipe.unet, ["up_blocks.*.attn2", "mid_block.*.attn2"])} < set(crossed)
    assert {s.channels for s in find_sites(pipe.unet)} == {64}
    with pytest.raises(InputError, match="matches nothing"):
        find_sites(pipe.unet, "nowhere.*")
