"""End-to-end training on a tiny pipeline of the real classes."""

import pytest
import torch
from tiny import GENERATION, draw, hooks_left, tiny_concept, tiny_pipeline

from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.fitting.recording import Recording
from dsas_diffusion.fitting.training import KEPT, train
from dsas_diffusion.fitting.training_loop import DivergedError, Trainer, Training, normalised
from dsas_diffusion.fitting.training_state import STATE, load_state
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.hooks.attached_concept import AttachedConcept
from dsas_diffusion.hooks.attachment import Attachment
from dsas_diffusion.hooks.hosts import DenoiserHost
from dsas_diffusion.hooks.live import CallCatcher, LiveSites
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.hooks.steered_site import SteeredSite
from dsas_diffusion.methods.base import METHODS

RECORDING = Recording(0, 3, GENERATION, None, 4, progress=False)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def unfitted(pipe, sites="auto", **settings) -> list[SteeredSite]:
    return [
        SteeredSite(s, GATES["always"]().reset(s.channels), METHODS["lineas"](**settings).reset(s.channels), 1.0, {})
        for s in find_sites(pipe.unet, sites)
    ]


def trained(pipe, sites, **settings) -> dict:
    return train(
        DenoiserHost(pipe),
        sites,
        tiny_concept(),
        tiny_concept(),
        RECORDING,
        Training(**{"iterations": 12, "batch": 3} | settings),
    )


def scales(sites) -> torch.Tensor:
    return torch.cat([torch.cat([s.method.scale, s.method.shift]) for s in sites])


def caught(pipe, prompts):
    with CallCatcher(DenoiserHost(pipe)) as catcher:
        draw(pipe, prompts)
    return catcher.calls


@pytest.mark.parametrize("kind", ["auto", "attention-heads", "resnets"])
def test_a_caught_call_runs_again_as_the_pipeline_ran_it(pipe, kind):
    sites = unfitted(pipe, kind)
    for number, steered in enumerate(sites):
        steered.method.register_buffer("scale", torch.full_like(steered.method.scale, 1.1 + number / 10))
        steered.method.register_buffer("shift", torch.full_like(steered.method.shift, 0.3))
    prompts = ["zzz zuzu", "eee oror"]
    calls = caught(pipe, prompts)
    assert [call.step for call in calls] == [0, 1]
    noises = []
    handle = pipe.unet.register_forward_hook(lambda module, args, output: noises.append(output[0].detach()))
    for strength in (0, 1):
        attachment = Attachment(DenoiserHost(pipe), [AttachedConcept("tiny", sites, strength)])
        noises.clear()
        draw(pipe, prompts)
        attachment.detach()
        with LiveSites(pipe.unet, sites) as live:
            seen = live.run(calls[0], steering=bool(strength))
        first, again = noises[0][2:], noises[-1]  # the pipeline's conditional half, and what was kept of it
        assert torch.allclose(again, first, atol=1e-5)
        assert set(seen) == {s.site.path for s in sites}
        assert not any(activation.requires_grad for activation in seen.values())  # nothing here learns
    handle.remove()
    assert not torch.allclose(first, caught_noise(pipe, prompts), atol=1e-3)


def caught_noise(pipe, prompts) -> torch.Tensor:
    noises = []
    handle = pipe.unet.register_forward_hook(lambda module, args, output: noises.append(output[0].detach()))
    draw(pipe, prompts)
    handle.remove()
    return noises[0][2:]


def test_gradients_are_those_of_finite_differences(pipe):
    sites = unfitted(pipe)
    calls = caught(pipe, ["zzz zuzu", "zzz zuzu v"])

    def loss(change: float) -> torch.Tensor:
        with LiveSites(pipe.unet, sites) as live:
            first.register_buffer("shift", shift + change * along)
            seen = live.run(calls[0], steering=True)
            return seen[sites[-1].site.path].double().square().mean()  # the last site sees what the first changed

    first = sites[0].method
    along = torch.linspace(-1, 1, len(first.shift))
    shift = torch.zeros_like(first.shift).requires_grad_()
    loss(0.0).backward()
    slope = (shift.grad @ along).item()
    with torch.no_grad():
        measured = (loss(0.05) - loss(-0.05)).item() / 0.1
    assert slope != 0
    assert slope == pytest.approx(measured, rel=2e-2)


def test_training_brings_source_to_target_and_leaves_the_pipeline_as_it_was(pipe):
    plain = draw(pipe, ["zzz"])
    pipe.unet.conv_in.weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in pipe.unet.named_parameters()}
    sites = unfitted(pipe)
    report = trained(pipe, sites, iterations=40)
    assert report["losses"][-1]["transport"] < 0.7 * report["losses"][0]["transport"]
    assert {name: p.requires_grad for name, p in pipe.unet.named_parameters()} == before
    pipe.unet.conv_in.weight.requires_grad_(True)
    assert hooks_left(pipe) == 0
    assert all(p.grad is None for p in pipe.unet.parameters())
    assert torch.equal(draw(pipe, ["zzz"]), plain)
    assert not any(s.method.scale.requires_grad for s in sites)
    assert report["touched"] == {s.site.path: s.site.channels for s in sites}


def test_a_model_that_refuses_checkpointing_is_told_first_and_comes_out_as_it_went_in(pipe, monkeypatch):
    monkeypatch.setattr(type(pipe.unet), "_supports_gradient_checkpointing", False)
    settings = {"method": "lineas", "generation": GENERATION, "progress": False}
    with pytest.raises(InputError, match="UNet2DConditionModel has no gradient checkpointing"):
        fit(pipe, tiny_concept(), training=Training(gradient_checkpointing=True), **settings)
    with pytest.raises(ValueError, match="does not support gradient checkpointing"):
        trained(pipe, unfitted(pipe), gradient_checkpointing=True)
    assert all(p.requires_grad for p in pipe.unet.parameters())
    assert hooks_left(pipe) == 0


def test_a_picture_without_a_region_is_pooled_whole(pipe):
    regions = torch.zeros(len(tiny_concept().source), 16, 16)
    regions[1:, :8] = 1  # nothing was found on the first
    sites = unfitted(pipe)
    report = train(
        DenoiserHost(pipe), sites, tiny_concept(), tiny_concept(), RECORDING, Training(iterations=3, batch=3), regions
    )
    assert all(torch.tensor(term["transport"]).isfinite() for term in report["losses"])
    assert scales(sites).isfinite().all()


@pytest.mark.parametrize("iterations", [1, 50, 51, 120])
def test_at_most_fifty_losses_are_told_from_the_first_to_the_last(pipe, monkeypatch, iterations):
    monkeypatch.setattr(Trainer, "run", lambda self, *_: self.losses.extend({"n": i} for i in range(iterations)))
    told = [losses["n"] for losses in trained(pipe, unfitted(pipe), iterations=iterations)["losses"]]
    assert len(told) == min(iterations, KEPT)
    assert (told[0], told[-1]) == (0, iterations - 1)
    assert told == sorted(set(told))


def test_every_site_weighs_the_same_however_wide_it_is():
    narrow, wide = torch.ones(2, requires_grad=True), torch.ones(6, requires_grad=True)
    normalised([narrow, wide]).backward()
    assert narrow.grad.sum() == wide.grad.sum() == 4
    assert normalised([torch.full((3,), 0.5), torch.full((3,), 1.5)]) == 6  # of one width: the sum


def test_it_is_the_same_twice_and_leaves_the_random_state_alone(pipe):
    state = torch.get_rng_state()
    first, second = unfitted(pipe), unfitted(pipe)
    for sites in (first, second):
        trained(pipe, sites, iterations=4)
    assert torch.equal(scales(first), scales(second))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(pipe, tmp_path, monkeypatch):
    whole, parts = unfitted(pipe), unfitted(pipe)
    settings = {"optimizer": "adam", "learning_rate": 0.02, "iterations": 9}
    expected = trained(pipe, whole, **settings)
    folder = str(tmp_path / "run")
    kept = {"checkpoints": folder, "every": 4}
    seen = []

    def interrupted(self, call, steering):
        seen.append(steering)
        if sum(seen) == 7:
            raise KeyboardInterrupt
        return run(self, call, steering)

    run = LiveSites.run
    monkeypatch.setattr(LiveSites, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(pipe, parts, **settings, **kept)
    monkeypatch.undo()
    assert hooks_left(pipe) == 0
    with pytest.raises(InputError, match="resume=True"):
        trained(pipe, parts, **settings, **kept)
    with pytest.raises(InputError, match="learning_rate is 0\\.02 there"):
        trained(pipe, parts, **settings | {"learning_rate": 0.01}, **kept, resume=True)
    with pytest.raises(InputError, match=r"method is .*'l1': 0\.0.* there and .*'l1': 0\.5"):
        trained(pipe, unfitted(pipe, l1=0.5), **settings, **kept, resume=True)
    with pytest.raises(InputError, match="model is 'UNet2DConditionModel"):
        trained(tiny_pipeline(width=16), unfitted(tiny_pipeline(width=16)), **settings, **kept, resume=True)
    again = unfitted(pipe)
    report = trained(pipe, again, **settings, **kept, resume=True)
    assert torch.equal(scales(again), scales(whole))
    assert report["losses"] == expected["losses"]
    (tmp_path / "run" / STATE).write_bytes(b"cut off")
    with pytest.raises(InputError, match="can't be read"):
        load_state(folder, {}, resume=True)


def test_a_diverging_training_stops_with_the_last_good_state(pipe):
    with pytest.raises(DivergedError, match="diverged in iteration") as caught_error:
        trained(pipe, unfitted(pipe), learning_rate=1e6)
    error = caught_error.value
    assert error.iteration > 0
    assert error.site in {s.path for s in find_sites(pipe.unet, "auto")}
    good = [tensor for buffers in error.state.values() for tensor in buffers.values()]
    assert all(torch.isfinite(tensor).all() for tensor in good)
    assert hooks_left(pipe) == 0


def test_checkpointing_changes_memory_and_not_the_result(pipe):
    plain, again = unfitted(pipe), unfitted(pipe)
    trained(pipe, plain, iterations=3)
    trained(pipe, again, iterations=3, gradient_checkpointing=True)
    assert torch.allclose(scales(plain), scales(again), atol=1e-5)
    assert not pipe.unet.is_gradient_checkpointing


def test_steps_accumulate(pipe):
    one, two = unfitted(pipe), unfitted(pipe)
    trained(pipe, one, iterations=3)
    trained(pipe, two, iterations=3, accumulate=4)
    assert not torch.equal(scales(one), scales(two))


def test_sparsity_is_reported(pipe):
    sparse = trained(pipe, unfitted(pipe, l1=0.5), iterations=30)
    none = trained(pipe, unfitted(pipe, group=1e3), iterations=3)
    assert 0 < sum(sparse["touched"].values()) < sum(s.channels for s in find_sites(pipe.unet, "auto"))
    assert set(none["touched"].values()) == {0}


@pytest.mark.parametrize("gate", ["logistic", "relu"])
def test_gates_are_trained_with_the_maps(pipe, gate):
    steerers = {}
    for gamma in (0.0, 50.0):
        training = Training(iterations=25, gates=True, gamma=gamma, optimizer="adam", learning_rate=0.05)
        steerers[gamma] = fit(
            pipe, tiny_concept(), method="lineas", gate=gate, training=training, tau=0.5, map_from="pooled",
            generation=GENERATION, progress=False,
        )  # fmt: skip
    offline = fit(pipe, tiny_concept(), gate=gate, tau=0.5, generation=GENERATION, progress=False)
    change = {}
    for gamma, steerer in steerers.items():
        path, steered = next(iter(steerer.sites.items()))
        assert not torch.equal(steered.gate.weight, offline.sites[path].gate.weight)
        assert steered.measured["gate_on_control"] != offline.sites[path].measured["gate_on_control"]
        losses = steerer.manifest["fit"]["training"]["losses"]
        assert losses[-1]["transport"] < losses[0]["transport"]
        change[gamma] = losses[-1]["control"]
    assert change[50.0] < 0.5 * change[0.0]


def test_what_cannot_be_trained_is_refused_before_anything_is_drawn(pipe, tmp_path):
    (tmp_path / STATE).write_bytes(b"an earlier one")
    asked = {"tau": 0.5, "generation": GENERATION, "progress": False}
    for settings, message in (
        ({"method": "caa", "training": Training()}, "'caa' can't be trained"),
        ({"method": "lineas", "training": Training(gates=True), "gate": "patch"}, "'patch' can't be trained"),
        ({"method": "lineas", "estimation": "causal"}, "at all sites together"),
        ({"method": "lineas", "training": Training(checkpoints=str(tmp_path))}, "holds a training already"),
    ):
        drawn = []
        handle = pipe.unet.register_forward_pre_hook(lambda *_, drawn=drawn: drawn.append(1))
        with pytest.raises(InputError, match=message):
            fit(pipe, tiny_concept(), **settings, **asked)
        handle.remove()
        assert not drawn


def test_a_quantised_or_compiled_denoiser_is_refused():
    quantised, compiled = tiny_pipeline(), tiny_pipeline()
    linear = quantised.unet.time_embedding.linear_1
    linear.weight = torch.nn.Parameter(linear.weight.to(torch.int8), requires_grad=False)
    compiled.unet.compile(backend="eager")
    for pipe, word in ((quantised, "quantised"), (compiled, "compiled")):
        with pytest.raises(InputError, match=word):
            fit(pipe, tiny_concept(), method="lineas", tau=0.5, generation=GENERATION, progress=False)


@pytest.mark.parametrize("wrong", [{"gamma": -1.0}, {"batch": 1}, {"accumulate": 0}, {"every": 0}, {"resume": True}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Training(**wrong)
