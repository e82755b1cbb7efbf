"""The contract of a technique, over every baseline: nothing at strength 0, and no trace afterwards."""

import inspect
import pkgutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from baselines import CASES, draw, foreign, host
from tiny import hooks_left, tiny_concept

from benchmarks import baselines
from dsas_diffusion.errors import InputError
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.sweeps.plan import Entry
from dsas_diffusion.sweeps.technique import Conditions, Technique, as_asked

PROMPTS = ["zzz zuzu k", "eee zzz and yyy"]
ON = [(case, False) for case in CASES] + [(case, True) for case in CASES if case.dit]


@pytest.fixture(params=ON, ids=lambda one: f"{one[0].use.split(':')[1]}-{'dit' if one[1] else 'unet'}")
def case(request):
    return request.param


def trace(pipe):
    """All that a technique could leave behind: modules by class, the very tensors and what they hold, hooks, grads."""
    denoiser = denoiser_of(pipe)
    return (
        [(name, type(module)) for name, module in denoiser.named_modules()],
        {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in denoiser.state_dict().items()},
        hooks_left(pipe),
        sorted(vars(denoiser)),
        {name: (parameter.requires_grad, parameter.grad is None) for name, parameter in denoiser.named_parameters()},
    )


def same(before, after):
    weights, weights_after = before[1], after[1]
    assert weights.keys() == weights_after.keys()
    for name, (place, tensor) in weights.items():
        assert weights_after[name][0] == place
        assert torch.equal(weights_after[name][1], tensor)
    assert before[0] == after[0]
    assert before[2:] == after[2:]


def test_pictures_change_inside_the_context_alone_and_nothing_is_left(case, tmp_path):
    baseline, dit = case
    pipe, generation = host(dit)
    untouched, before = draw(pipe, as_asked, generation, PROMPTS), trace(pipe)
    state = torch.get_rng_state()
    technique = baseline.prepared(pipe, tmp_path / "learned", **generation)
    assert torch.equal(torch.get_rng_state(), state)
    same(before, trace(pipe))
    with technique.applied(pipe, 0.0) as arguments:
        assert torch.equal(draw(pipe, arguments, generation, PROMPTS), untouched)
    with technique.applied(pipe, 1.0) as arguments:
        changed = draw(pipe, arguments, generation, PROMPTS)
        assert torch.equal(draw(pipe, arguments, generation, PROMPTS), changed)  # nothing is carried from call to call
    assert not torch.allclose(changed, untouched, atol=1e-4)
    assert torch.isfinite(changed).all()
    same(before, trace(pipe))
    assert torch.equal(draw(pipe, as_asked, generation, PROMPTS), untouched)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_exception_leaves_nothing_either(case, tmp_path):
    baseline, dit = case
    pipe, generation = host(dit)
    technique, before = baseline.prepared(pipe, tmp_path / "learned", **generation), trace(pipe)
    with pytest.raises(ZeroDivisionError), technique.applied(pipe, 1.0):
        raise ZeroDivisionError
    same(before, trace(pipe))


def files(folder: Path):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_what_was_learned_is_read_again(case, tmp_path):
    baseline, dit = case
    pipe, generation = host(dit)
    first = baseline.prepared(pipe, tmp_path / "learned", **generation)
    kept = files(tmp_path / "learned")
    second = baseline.prepared(pipe, tmp_path / "learned", seed=99, **generation)
    assert files(tmp_path / "learned") == kept
    pictures = []
    for technique in (first, second):
        with technique.applied(pipe, 1.0) as arguments:
            pictures.append(draw(pipe, arguments, generation, PROMPTS))
    assert torch.equal(*pictures)


def test_a_second_prepare_forgets_the_first(case, tmp_path):
    baseline, dit = case
    pipe, generation = host(dit)
    technique = baseline.prepared(pipe, tmp_path / "both", **generation)
    alone, fresh = baseline.make(), Conditions(batch_size=3, generation=generation)
    for each in (technique, alone):
        each.prepare(pipe, [tiny_concept()], fresh, tmp_path / "one")
    pictures = []
    for each in (technique, alone):
        with each.applied(pipe, 1.0) as arguments:
            pictures.append(draw(pipe, arguments, generation, PROMPTS))
    assert torch.equal(*pictures)


@pytest.mark.parametrize("baseline", [one for one in CASES if one.refuses], ids=lambda one: one.use)
def test_other_pipelines_are_refused_before_anything_is_learned(baseline, tmp_path):
    others = [foreign()] if baseline.dit else [foreign(), host(dit=True)[0]]
    for pipe in others:
        with pytest.raises(InputError, match=f"is for StableDiffusion.*this is a {type(pipe).__name__}"):
            baseline.prepared(pipe, tmp_path / "learned")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("baseline", CASES, ids=lambda one: one.use)
def test_something_else_than_removal_is_refused(baseline, tmp_path):
    conditions = Conditions(generation=host(dit=False)[1], towards=replace(tiny_concept(), name="blur"))
    with pytest.raises(InputError, match="towards 'blur'"):
        baseline.make().prepare(host(dit=False)[0], [tiny_concept()], conditions, tmp_path / "learned")
    assert not list(tmp_path.iterdir())


def test_tuning_and_heldout_prompts_are_never_read(case, tmp_path):
    """Prompts that can't be encoded, or have other words, would change what is learned if they were."""
    baseline, dit = case
    pipe, generation = host(dit)
    learned = []
    for name, extra in (("without", {}), ("with", {"tuning": other_prompts("t"), "heldout": other_prompts("h")})):
        baseline.make().prepare(
            pipe, [replace(tiny_concept(), **extra)], Conditions(generation=generation), tmp_path / name
        )
        learned.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert learned[0] == learned[1]


def other_prompts(mark: str):
    concept = tiny_concept()
    return {
        kind: tuple(replace(prompt, text=f"{mark} {kind} {prompt.text}") for prompt in concept.source)
        for kind in ("source", "control", "mixed")
    }


def test_every_baseline_has_a_case():
    have = set()
    for info in pkgutil.iter_modules(baselines.__path__, f"{baselines.__name__}."):
        for _, cls in inspect.getmembers(import_module(info.name), inspect.isclass):
            if issubclass(cls, Technique) and cls.__module__ == info.name and not inspect.isabstract(cls):
                have.add(f"{info.name.rpartition('.')[2]}:{cls.__name__}")
    assert have == {case.use for case in CASES}


@pytest.mark.parametrize("baseline", CASES, ids=lambda one: one.use)
def test_an_unknown_setting_is_named(baseline):
    with pytest.raises(InputError, match="has no setting 'strenght'"):
        Entry(use=f"benchmarks.baselines.{baseline.use}", settings={"strenght": 1}).make()


@pytest.mark.parametrize("baseline", CASES, ids=lambda one: one.use)
def test_it_says_what_it_is(baseline):
    kind = type(baseline.make())
    assert kind.unit_strength.endswith(".")
    assert kind.source
    assert "Source:" in kind.__doc__
