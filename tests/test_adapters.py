"""Steering as an adapter: the verbs, several concepts at once, and a pipeline class of one's own."""

import inspect

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny import GENERATION, draw, hooks_left, tiny_concept, tiny_pipeline

import dsas_diffusion as dsas
from dsas_diffusion.core.steer import added
from dsas_diffusion.errors import InputError
from dsas_diffusion.hooks.attachment import Attachment

PROMPTS = ["zzz zuzu", "eee oror"]


class SteeredPipeline(dsas.SteeringMixin, StableDiffusionPipeline):
    """What a user writes."""


@pytest.fixture
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def plain():
    return draw(tiny_pipeline(), PROMPTS)


@pytest.fixture(scope="module")
def steerers():
    """Two steerers of one model: the same maps at other sites, so that their changes can be told apart."""
    pipe = tiny_pipeline()
    settings = {"gate": "always", "map_from": "pooled", "generation": GENERATION, "progress": False, "strength": 2.0}
    return [dsas.fit(pipe, tiny_concept(), sites=sites, **settings) for sites in ("cross-attention", "*.attn1")]


def test_a_loaded_steerer_is_on_and_unloading_leaves_no_trace(pipe, plain, steerers, tmp_path):
    folder = steerers[0].save_pretrained(tmp_path / "first")
    with steerers[0].attached(pipe):
        expected = draw(pipe, PROMPTS)
    before = dict(vars(pipe))
    dsas.load_steering(pipe, folder)
    assert dsas.get_active_steering(pipe) == {"zzz": 2.0}
    assert torch.equal(draw(pipe, PROMPTS), expected)
    dsas.unload_steering(pipe)
    assert hooks_left(pipe) == 0
    assert vars(pipe).keys() == before.keys()
    assert torch.equal(draw(pipe, PROMPTS), plain)
    assert dsas.get_active_steering(pipe) == {}
    assert dsas.get_list_steering(pipe) == []


def test_changes_of_several_concepts_add(pipe, steerers):
    first, second = steerers
    path = next(iter(first.sites))
    doubled = dsas.Steerer([first.sites[path]], first.manifest)
    dsas.load_steering(pipe, doubled, "one")
    dsas.load_steering(pipe, dsas.Steerer([first.sites[path]], first.manifest), "two")
    dsas.set_steering(pipe, {"one": 1.0, "two": 0.5})
    together = draw(pipe, PROMPTS)
    dsas.set_steering(pipe, {"one": 1.5})  # a shift added one and a half times
    assert torch.allclose(together, draw(pipe, PROMPTS), atol=1e-4)
    assert dsas.get_list_steering(pipe) == ["one", "two"]
    dsas.load_steering(pipe, second)
    assert dsas.get_active_steering(pipe) == {"one": 1.5, "zzz": 2.0}
    assert not torch.allclose(together, draw(pipe, PROMPTS), atol=1e-2)


def test_verbs_switch_off_and_on_and_forget(pipe, plain, steerers):
    dsas.load_steering(pipe, steerers[0], "one")
    on = draw(pipe, PROMPTS)
    dsas.disable_steering(pipe)
    assert torch.equal(draw(pipe, PROMPTS), plain)
    assert hooks_left(pipe) == 0
    assert dsas.get_active_steering(pipe) == {}
    dsas.enable_steering(pipe)
    assert torch.equal(draw(pipe, PROMPTS), on)
    dsas.set_steering(pipe, {"one": [2.0, 0.0]})
    mixed = draw(pipe, PROMPTS)
    assert torch.allclose(mixed[0], on[0], atol=1e-5)
    assert torch.equal(mixed[1], plain[1])
    dsas.set_steering(pipe, "one")  # its own strength
    assert torch.equal(draw(pipe, PROMPTS), on)
    dsas.delete_steering(pipe, "one")
    assert torch.equal(draw(pipe, PROMPTS), plain)
    assert hooks_left(pipe) == 0


def test_a_new_strength_is_no_new_hook(pipe, steerers):
    dsas.load_steering(pipe, steerers[0], "one")
    hooks = [m._diffusers_hook.hooks["dsas_steering"] for m in pipe.unet.modules() if hasattr(m, "_diffusers_hook")]
    dsas.set_steering(pipe, {"one": 0.3})
    again = [m._diffusers_hook.hooks["dsas_steering"] for m in pipe.unet.modules() if hasattr(m, "_diffusers_hook")]
    assert all(a is b for a, b in zip(hooks, again, strict=True))


def test_a_strength_that_is_wrong_changes_none_of_them(pipe, steerers):
    for name, steerer in zip(("one", "two"), steerers, strict=True):
        dsas.load_steering(pipe, steerer, name)
    expected = draw(pipe, PROMPTS)
    with pytest.raises(InputError, match="strength must be a finite number"):
        dsas.set_steering(pipe, {"one": 0.0, "two": float("inf")})
    assert torch.equal(draw(pipe, PROMPTS), expected)
    assert dsas.get_active_steering(pipe) == {"one": 2.0, "two": 2.0}


def test_changes_are_capped_at_a_share_of_the_activation():
    t = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    moved = [t + 5.0, t + 0.01 * torch.arange(8)]
    capped = added(t, moved, max_change=0.5)
    assert torch.allclose((capped - t).norm(dim=-1), 0.5 * t.norm(dim=-1), rtol=1e-4)
    assert torch.allclose(added(t, moved, 1e6), added(t, moved))
    assert torch.equal(added(t, [t, t], 0.5), t)
    assert torch.equal(added(t, moved[:1]), moved[0])


def test_a_cap_reaches_the_pictures(pipe, plain, steerers):
    dsas.load_steering(pipe, steerers[0], "one", strength=30.0)
    free = (draw(pipe, PROMPTS) - plain).abs().mean()
    dsas.set_steering(pipe, {"one": 30.0}, max_change=0.05)
    assert 0 < (draw(pipe, PROMPTS) - plain).abs().mean() < free / 2


def test_errors_leave_the_pipeline_as_it_was(pipe, steerers):
    dsas.load_steering(pipe, steerers[0], "one")
    expected = draw(pipe, PROMPTS)
    for wrong, message in (
        (lambda: dsas.load_steering(pipe, steerers[1], "one"), "called 'one' on this pipeline already"),
        (lambda: dsas.set_steering(pipe, {"two": 1.0}), "no steering called 'two' on this pipeline. Loaded are one"),
        (lambda: dsas.set_steering(pipe, ["two"]), "no steering called 'two'"),
        (lambda: dsas.set_steering(pipe, {"one": float("nan")}), "strength must be a finite number"),
        (lambda: dsas.set_steering(pipe, {"one": 1.0}, max_change=0.0), "max_change=0.0 must be above 0"),
        (lambda: dsas.delete_steering(pipe, ["one", "two"]), "no steering called 'two'"),
        (lambda: dsas.load_steering(pipe, "nowhere/at all"), "There is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            wrong()
        assert torch.equal(draw(pipe, PROMPTS), expected)
    assert dsas.get_active_steering(pipe) == {"one": 2.0}
    other = tiny_pipeline(width=16)
    with pytest.raises(InputError, match="fitted on another model"):
        dsas.load_steering(other, steerers[0])
    assert hooks_left(other) == 0
    assert dsas.get_list_steering(other) == []


def test_a_pipeline_class_with_the_mixin_has_the_verbs_and_a_strength_per_call(steerers, plain):
    pipe = SteeredPipeline(**tiny_pipeline().components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    signature = inspect.signature(SteeredPipeline.__call__)
    assert "steering_strength" in signature.parameters
    assert set(inspect.signature(StableDiffusionPipeline.__call__).parameters) < set(signature.parameters)
    pipe.load_steering(steerers[0], "one")
    pipe.load_steering(steerers[1], "two")
    pipe.set_steering({"one": 2.0, "two": 1.0})
    on = draw(pipe, PROMPTS)
    assert torch.equal(draw(pipe, PROMPTS, steering_strength=0), plain)
    assert torch.equal(draw(pipe, PROMPTS, steering_strength={"two": 1.0}), on)
    without = draw(pipe, PROMPTS, steering_strength={"two": 0.0})
    pipe.set_steering({"one": 2.0})
    assert torch.allclose(draw(pipe, PROMPTS), without, atol=1e-5)
    with pytest.raises(InputError, match="no steering called 'three'"):
        draw(pipe, PROMPTS, steering_strength={"three": 1.0})
    with pytest.raises(ZeroDivisionError):
        draw(pipe, PROMPTS, steering_strength=0.1, callback_on_step_end=lambda *_: 1 / 0)
    assert pipe.get_active_steering() == {"one": 2.0}
    pipe.disable_steering()
    assert torch.equal(draw(pipe, PROMPTS), plain)
    pipe.enable_steering()
    pipe.delete_steering("one")
    assert pipe.get_list_steering() == ["two"]
    pipe.unload_steering()
    assert hooks_left(pipe) == 0


def test_a_strength_for_one_call_with_nothing_on_is_refused_and_forgets_nothing(steerers, plain):
    pipe = SteeredPipeline(**tiny_pipeline().components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    with pytest.raises(InputError, match="no steering is on"):
        draw(pipe, PROMPTS, steering_strength=1.0)
    pipe.load_steering(steerers[0], "one")
    on = draw(pipe, PROMPTS)
    pipe.disable_steering()
    for strength in (1.0, {"one": 1.0}):
        with pytest.raises(InputError, match="steering is disabled on this pipeline"):
            draw(pipe, PROMPTS, steering_strength=strength)
    assert torch.equal(draw(pipe, PROMPTS, steering_strength=0), plain)
    pipe.enable_steering()
    assert pipe.get_active_steering() == {"one": 2.0}
    assert torch.equal(draw(pipe, PROMPTS), on)


def test_what_cannot_be_attached_leaves_on_what_was_on(pipe, steerers, monkeypatch):
    dsas.load_steering(pipe, steerers[0], "one")
    on = draw(pipe, PROMPTS)
    with monkeypatch.context() as patched:
        patched.setattr(Attachment, "_register", _failing_once(Attachment._register))
        with pytest.raises(ZeroDivisionError):
            dsas.load_steering(pipe, steerers[1], "two")
    assert torch.equal(draw(pipe, PROMPTS), on)
    assert dsas.get_active_steering(pipe) == {"one": 2.0}
    dsas.unload_steering(pipe)
    assert hooks_left(pipe) == 0


def _failing_once(register):
    calls = []

    def failing(self):
        calls.append(self)
        if len(calls) == 1:
            1 / 0  # noqa: B018
        register(self)

    return failing
