"""What can't work, and is said."""

import pytest
import torch
from diffusers.hooks import LayerSkipConfig, apply_layer_skip
from tiny import STRENGTH, open_steerer
from works import works

import dsas_diffusion as dsas
from compatibility.case import QUIET, Case, assert_clean, pictures_of

pytestmark = QUIET


@works("Errors", "λ for another number of prompts", "an error in the first call", "sd flux sd3")
def test_strengths_of_the_wrong_length(name):
    case = Case(name)
    with case.steerer.attached(case.pipe, [1.0, 2.0, 3.0]) as attachment:
        with pytest.raises(dsas.InputError, match=r"strength has 3 numbers, but 2 pictures are made at once"):
            case.draw()
        attachment.set_strength([STRENGTH, STRENGTH])
        assert torch.equal(case.draw(), pictures_of(name)[1])
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), pictures_of(name)[0])


@works("Errors", "A site that never runs, such as one of a block that is skipped",
       "an error in the first call, and in `fit`", "wan ltx")  # fmt: skip
@pytest.mark.parametrize("steps", [1, 2])
def test_a_site_that_never_runs(name, steps):
    case = Case(name, steps=steps)
    blocks = "blocks" if name == "wan" else "transformer_blocks"
    plain = case.draw()
    with case.steerer.attached(case.pipe):
        apply_layer_skip(case.denoiser, LayerSkipConfig([1], blocks))
        with pytest.raises(dsas.InputError, match=rf"never ran, the first of them {blocks}\.1\.attn"):
            case.draw()
    assert_clean(case.pipe)
    assert not torch.equal(case.draw(), plain)
    with pytest.raises(dsas.InputError, match=rf"{blocks}\.1\.attn.* never ran"):
        open_steerer(case.pipe, generation=case.family.generation)
    getattr(case.denoiser, blocks)[1]._diffusers_hook.remove_hook("layer_skip_hook")
    assert torch.equal(case.draw(), plain)


@works("Errors", "A module that another one has taken the place of", "an error in the next run", "sd flux")
def test_a_module_that_is_replaced(name):
    case = Case(name)
    path = next(iter(case.steerer.sites))
    parent, _, key = path.rpartition(".")
    module = case.site
    other = Case(name).denoiser.get_submodule(path)
    with case.steerer.attached(case.pipe):
        case.draw()
        setattr(case.denoiser.get_submodule(parent), key, other)
        with pytest.raises(dsas.InputError, match=rf"never ran, the first of them {path}"):
            case.draw()
    assert_clean(case.pipe)
    assert "dsas_steering" not in module._diffusers_hook.hooks
    assert torch.equal(case.draw(), pictures_of(name)[0])


@works("Errors", "Latents that change their size during a run", "an error in the next call", "sd sd3")
def test_latents_that_change_their_size(name):
    case = Case(name)

    def cut(pipe, step, timestep, given):
        return {"latents": given["latents"][..., :-2]}

    with case.steerer.attached(case.pipe), pytest.raises(dsas.InputError, match="changed their shape"):
        case.draw(callback_on_step_end=cut)
    assert_clean(case.pipe)
    with case.steerer.attached(case.pipe):
        assert torch.equal(case.draw(), pictures_of(name)[1])


@works("Errors", "Attaching twice", "an error that leaves the first as it is", "sd flux")
def test_attaching_twice(name):
    case = Case(name)
    with case.steerer.attached(case.pipe):
        with pytest.raises(dsas.InputError, match="steered already"):
            case.steerer.attach(case.pipe)
        assert torch.equal(case.draw(), pictures_of(name)[1])
    assert_clean(case.pipe)


@works("Errors", "A pipeline without a denoiser, or without a scheduler", "an error when attaching", "sd sd3")
@pytest.mark.parametrize("missing", ["denoiser", "scheduler"])
def test_missing_components(name, missing):
    case = Case(name)
    denoiser = case.denoiser
    setattr(case.pipe, case.family.denoiser if missing == "denoiser" else missing, None)
    with pytest.raises(dsas.InputError, match=f"There is no {missing}"):
        case.steerer.attach(case.pipe)
    case.pipe = Case(name).pipe
    assert not denoiser._forward_pre_hooks


@works("Errors", "A steerer of another model, or a site that this one lacks", "an error when attaching", "sd flux")
def test_another_model(name):
    case = Case(name)
    other = Case("flux" if name == "sd" else "sd")
    with pytest.raises(dsas.InputError, match="fitted on another model"):
        case.steerer.attach(other.pipe)
    assert_clean(other.pipe)
