"""fit(): what is recorded, what is refused, and that the pipeline comes out as it went in."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from tiny import GENERATION, draw, tiny_concept, tiny_pipeline

from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting import cross_validated_accuracy, fit
from dsas_diffusion.gates.base import Samples
from dsas_diffusion.gates.calibrated import CalibratedGate
from dsas_diffusion.gates.logistic import LogisticGate
from dsas_diffusion.hooks.recorder import ActivationRecorder
from dsas_diffusion.hooks.sites import find_sites

SETTINGS = {"generation": GENERATION, "progress": False, "tau": 0.5}


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def test_caa_on_a_pipeline_is_the_difference_of_pooled_means(pipe):
    concept = tiny_concept()
    steerer = fit(pipe, concept, **SETTINGS, batch_size=3, seed=5)
    path = next(iter(steerer.sites))
    means = []
    for group in (concept.texts("source"), concept.texts("target")):
        seen: list[torch.Tensor] = []
        handle = pipe.unet.get_submodule(path).register_forward_hook(
            lambda m, a, o, s=seen: s.append(o[len(o) // 2 :].clone()) and None
        )
        draw(pipe, group, seed=5)
        handle.remove()
        means.append(torch.cat(seen).double().mean((0, 1)))
    assert torch.allclose(steerer.sites[path].method.shift.double(), means[1] - means[0], atol=1e-5)


def test_same_seed_same_steerer_and_global_randomness_untouched(pipe):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two = (fit(pipe, tiny_concept(), **SETTINGS, seed=2) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for path, steered in one.sites.items():
        assert steered.accuracy == two.sites[path].accuracy
        assert torch.equal(steered.gate.weight, two.sites[path].gate.weight)


def test_batch_size_does_not_matter(pipe):
    one, two = (fit(pipe, tiny_concept(), gate="logistic", **SETTINGS, batch_size=n) for n in (1, 6))
    for path, steered in one.sites.items():
        assert torch.allclose(steered.method.shift, two.sites[path].method.shift, atol=1e-4)


def test_a_failing_fit_leaves_the_pipeline_clean(pipe):
    plain = draw(pipe, ["abc"])

    def interrupt(*_: object) -> dict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(pipe, tiny_concept(), progress=False, generation={**GENERATION, "callback_on_step_end": interrupt})
    assert all(not m._forward_hooks for m in pipe.unet.modules())
    assert torch.equal(draw(pipe, ["abc"]), plain)


def test_an_instance_brings_its_settings(pipe):
    steerer = fit(pipe, tiny_concept(), gate=CalibratedGate(components=2, dead_zone=0.3), **SETTINGS)
    assert {(s.gate.components, s.gate.dead_zone) for s in steerer.sites.values()} == {(2, 0.3)}
    assert len({id(s.gate) for s in steerer.sites.values()}) == len(steerer.sites)


@pytest.mark.parametrize(
    ("weighting", "gate"), [("accuracy", "logistic"), ("threshold", "logistic"), ("accuracy", "always")]
)
def test_site_weights(pipe, weighting, gate):
    steerer = fit(pipe, tiny_concept(), gate=gate, weighting=weighting, **SETTINGS)
    for s in steerer.sites.values():
        expected = 1.0 if gate == "always" or weighting == "threshold" else max(0.0, 2 * s.accuracy - 1)
        assert s.weight == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cca"}, "no steering method 'cca'. Did you mean 'caa'"),
        ({"gate": "nogate"}, "no gate 'nogate'"),
        ({"sites": "x.*"}, "matches nothing"),
        ({"tau": 0.2}, "tau must be between"),
        ({"weighting": "both"}, "weighting must be"),
        ({"strength": float("inf")}, "finite"),
        ({"generation": {"prompt": "x"}}, "generation holds 'prompt'"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_arguments_are_explained(pipe, arguments, message):
    with pytest.raises(InputError, match=message):
        fit(pipe, tiny_concept(), **{**SETTINGS, **arguments})


def test_a_set_without_targets_or_with_one_prompt_is_refused(pipe):
    concept = tiny_concept()
    with pytest.raises(InputError, match="no target prompts"):
        fit(pipe, dataclasses.replace(concept, target=()), **SETTINGS)
    with pytest.raises(InputError, match="at least 2 of each"):
        fit(pipe, dataclasses.replace(concept, control=concept.control[:1]), **SETTINGS)


def test_when_no_site_can_be_trusted_the_accuracies_are_shown(pipe):
    concept = tiny_concept()
    alike = dataclasses.replace(concept, control=concept.source)
    with pytest.raises(InputError, match=r"No site tells .* The best sites: .*attn2 0\.\d\d"):
        fit(pipe, alike, **{**SETTINGS, "tau": 0.99})


def test_activations_that_are_no_numbers_are_refused():
    broken = tiny_pipeline()
    with torch.no_grad():
        broken.unet.mid_block.attentions[0].proj_in.weight.fill_(torch.nan)
    with pytest.raises(InputError, match="NaN"):
        fit(broken, tiny_concept(), **SETTINGS)


def test_cross_validation_keeps_prompts_together_and_learns_the_pca_inside_the_fold():
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(60, 8, generator=generator) + shift for shift in (0.3, -0.3)]
    prompts = torch.arange(12).repeat_interleave(5)
    samples = [Samples(side, prompts, side) for side in sides]
    X, y = torch.cat(sides).double().numpy(), np.repeat([1, 0], 60)
    groups = np.concatenate([prompts, prompts + 12])
    model = make_pipeline(PCA(5), LogisticRegression(max_iter=1000))
    folds = cross_val_score(model, X, y, groups=groups, cv=GroupKFold(4))
    assert cross_validated_accuracy(LogisticGate(), *samples) == pytest.approx(folds.mean(), abs=1e-9)


def test_recorder_keeps_every_call_and_a_few_positions(pipe):
    site = find_sites(pipe.unet, "cross-attention")[0]
    with ActivationRecorder(pipe.unet, [site], lambda rows: slice(rows // 2, rows), positions=3) as recorder:
        draw(pipe, ["abc", "def"])
        recorder.end_batch([7, 8])
    samples = recorder.samples()[site.path]
    assert samples.pooled.shape == (4, 64)  # 2 prompts × 2 steps
    assert samples.prompts.tolist() == [7, 8, 7, 8]
    assert samples.positions.shape == (12, 64)
    assert not pipe.unet.get_submodule(site.path)._forward_hooks


def test_recording_a_compiled_model_is_refused():
    compiled = tiny_pipeline()
    compiled.unet.compile(backend="eager")
    with pytest.raises(InputError, match="compiled"):
        fit(compiled, tiny_concept(), **SETTINGS)
