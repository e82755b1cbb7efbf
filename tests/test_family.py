"""Every steering method and every gate on a real pipeline: the same promises for all of them."""

import dataclasses

import pytest
import torch
from tiny import GENERATION, draw, hooks_left, tiny_concept, tiny_pipeline

from dsas_diffusion import Steerer
from dsas_diffusion.core.features import from_positions, to_positions
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.gates.logistic import LogisticGate
from dsas_diffusion.methods.base import METHODS

PROMPTS = ["zzz zuzu", "eee oror"]
PAIRS = [*((method, "logistic") for method in METHODS), *(("caa", gate) for gate in GATES if gate != "logistic")]


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def plain(pipe):
    return draw(pipe, PROMPTS)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def steerer(pipe, request):
    method, gate = request.param
    return fit(
        pipe, tiny_concept(), method=method, gate=gate, sites="auto", tau=0.5, generation=GENERATION, progress=False
    )


def test_zero_strength_and_detaching_are_bit_exact_and_leave_no_hook(pipe, steerer, plain):
    with steerer.attached(pipe, strength=0):
        assert torch.equal(draw(pipe, PROMPTS), plain)
    with steerer.attached(pipe, strength=1):
        draw(pipe, PROMPTS)
    for failure in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(failure), steerer.attached(pipe, strength=1):
            raise failure
    assert hooks_left(pipe) == 0
    assert torch.equal(draw(pipe, PROMPTS), plain)


def test_saved_and_loaded_it_draws_the_same_pictures(pipe, steerer, tmp_path):
    steerer.save_pretrained(tmp_path / "steerer")
    again = Steerer.from_pretrained(tmp_path / "steerer")
    pictures = []
    for one in (steerer, again):
        with one.attached(pipe, strength=1.5):
            pictures.append(draw(pipe, PROMPTS))
    assert torch.equal(*pictures)
    assert pictures[0].isfinite().all()


@pytest.mark.parametrize("support", ["pooled", "none"])
def test_every_support_is_saved_and_loaded(pipe, tmp_path, support):
    method = METHODS["linear_act"](support=support)
    steerer = fit(pipe, tiny_concept(), method=method, tau=0.5, generation=GENERATION, progress=False)
    steerer.save_pretrained(tmp_path / "steerer")
    again = Steerer.from_pretrained(tmp_path / "steerer")
    for path, steered in steerer.sites.items():
        x = torch.randn(2, 5, steered.site.channels, generator=torch.Generator().manual_seed(1)) * 100
        assert torch.equal(again.sites[path].method(x), steered.method(x))
        assert not torch.equal(steered.method(x / 100), x / 100)


def test_a_second_fit_is_the_same_and_leaves_no_hook(pipe, steerer):
    parts = (steerer.manifest[part] for part in ("method", "gate"))
    method, gate = (
        kinds[part["name"]](**part["settings"]) for kinds, part in zip((METHODS, GATES), parts, strict=True)
    )
    again = fit(pipe, tiny_concept(), method=method, gate=gate, tau=0.5, generation=GENERATION, progress=False)
    for path, steered in steerer.sites.items():
        for one, two in ((steered.method, again.sites[path].method), (steered.gate, again.sites[path].gate)):
            assert one.state_dict().keys() == two.state_dict().keys()
            assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))
    assert hooks_left(pipe) == 0


def test_a_batch_is_its_pictures(pipe, steerer):
    with steerer.attached(pipe, strength=1):
        together = draw(pipe, PROMPTS)
        apart = torch.cat([draw(pipe, [prompt], seed=number) for number, prompt in enumerate(PROMPTS)])
    assert torch.allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_maps_keep_dtype_and_layout(steerer, dtype):
    for steered in steerer.sites.values():
        image = torch.randn(2, steered.site.channels, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
        tokens = to_positions(image, "map")
        moved = steered.method(tokens)
        assert moved.dtype == dtype
        assert from_positions(moved, image, "map").shape == image.shape
        scores = steered.gate.factor(steered.gate.factors[0], tokens)
        assert scores.dtype == torch.float32
        assert scores.shape == (2, 16)


class OnceGate(LogisticGate):
    """The paper's gate, deciding in a run's first step alone."""

    unit = "prompt"


def test_a_gate_for_prompts_decides_once_a_run(pipe):
    steerer = fit(pipe, tiny_concept(), gate="logistic", tau=0.5, generation=GENERATION, progress=False)
    sites = []
    for steered in steerer.sites.values():
        gate = OnceGate().reset(steered.site.channels)
        gate.load_state_dict(steered.gate.state_dict())
        sites.append(dataclasses.replace(steered, gate=gate))
    maps = []
    for one in (steerer, Steerer(sites, steerer.manifest)):
        with one.attached(pipe, strength=0, record_gates=True) as run:
            draw(pipe, PROMPTS)
            draw(pipe, PROMPTS[::-1])
            maps.append(run.gate_maps())
    for path, often in maps[0].items():
        once = maps[1][path]
        assert not torch.equal(often[0], often[1])
        assert torch.equal(once[0], often[0])
        assert torch.equal(once[1], once[0])
        assert not torch.equal(once[:, :2], once[:, 2:])  # the second run decides for itself
