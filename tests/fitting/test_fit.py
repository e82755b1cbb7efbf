"""fit(): what is recorded, what is refused, and that the pipeline comes out as it went in."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from tiny import GENERATION, draw, tiny_concept, tiny_pipeline
from zoo import FAMILIES

from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting import recording
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.fitting.validation import cross_validated, held_out_scores, place_auroc
from dsas_diffusion.gates.base import Samples
from dsas_diffusion.gates.calibrated import CalibratedGate
from dsas_diffusion.gates.logistic import LogisticGate
from dsas_diffusion.gates.patch import PatchGate
from dsas_diffusion.gates.relu import ReLUGate
from dsas_diffusion.hooks.call_reader import CallReader
from dsas_diffusion.hooks.hosts import DenoiserHost
from dsas_diffusion.hooks.recorder import ActivationRecorder
from dsas_diffusion.hooks.sites import find_sites

SETTINGS = {"generation": GENERATION, "progress": False, "tau": 0.5}


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def test_caa_on_a_pipeline_is_the_difference_of_pooled_means(pipe):
    concept = tiny_concept()
    steerer = fit(pipe, concept, map_from="pooled", **SETTINGS, batch_size=3, seed=5)
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


def test_map_of_the_concepts_places_is_the_difference_of_their_means(pipe):
    concept, wanted = tiny_concept(), 10_000
    left = torch.zeros(len(concept.source), 8, 8)
    left[:, :, :4] = 1
    settings = {**SETTINGS, "gate": "patch", "regions": lambda pictures: left, "seed": 5}
    steerer = fit(pipe, concept, **settings, positions=wanted)
    pooled = fit(pipe, concept, **settings, map_from="pooled")
    path = next(iter(steerer.sites))
    means = []
    for group in (concept.texts("source"), concept.texts("target")):
        seen: list[torch.Tensor] = []
        handle = pipe.unet.get_submodule(path).register_forward_hook(
            lambda m, a, o, s=seen: s.append(o[len(o) // 2 :].unflatten(1, (4, 4))[:, :, :2].clone()) and None
        )
        draw(pipe, group, seed=5)
        handle.remove()
        means.append(torch.cat(seen).double().mean((0, 1, 2)))
    exact, found = means[1] - means[0], steerer.sites[path].method.shift.double()
    assert (found - exact).norm() < 0.05 * exact.norm()  # positions are drawn at random
    assert (pooled.sites[path].method.shift.double() - exact).norm() > 2 * (found - exact).norm()


def test_the_default_map_learns_from_the_surest_half_of_the_twins_region(pipe):
    auto, core, inside = (
        fit(pipe, tiny_concept(), gate="patch", map_from=m, **SETTINGS) for m in ("auto", "core", "inside")
    )
    assert [s.manifest["fit"]["map_from"] for s in (auto, core, inside)] == ["core", "core", "inside"]
    for path, steered in auto.sites.items():
        assert torch.equal(steered.method.shift, core.sites[path].method.shift)
        assert not torch.equal(steered.method.shift, inside.sites[path].method.shift)


def test_gate_and_map_may_learn_from_two_sets(pipe):
    concept = tiny_concept()
    goal = dataclasses.replace(concept, name="goal", source=concept.control, target=concept.source, twins=False)
    steerer = fit(pipe, concept, gate="patch", towards=goal, **SETTINGS)
    own = fit(pipe, concept, gate="patch", map_from="pooled", **SETTINGS)
    other = fit(pipe, dataclasses.replace(goal, control=concept.target), gate="always", **SETTINGS)
    for path, steered in steerer.sites.items():
        assert torch.equal(steered.gate.where_weight, own.sites[path].gate.where_weight)
        assert torch.allclose(steered.method.shift, other.sites[path].method.shift, atol=1e-5)
    assert steerer.manifest["towards"]["name"] == "goal"
    assert steerer.manifest["fit"]["map_from"] == "pooled"


def test_same_seed_same_steerer_and_global_randomness_untouched(pipe):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one, two = (fit(pipe, tiny_concept(), **SETTINGS, seed=2) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for path, steered in one.sites.items():
        assert steered.measured == two.sites[path].measured
        assert torch.equal(steered.gate.weight, two.sites[path].gate.weight)


def test_batch_size_does_not_matter(pipe):
    one, two = (fit(pipe, tiny_concept(), **SETTINGS, batch_size=n) for n in (1, 6))
    for path, steered in one.sites.items():
        assert torch.allclose(steered.method.shift, two.sites[path].method.shift, atol=1e-4)
        assert torch.allclose(steered.gate.where_weight, two.sites[path].gate.where_weight, atol=1e-3)


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
        expected = 1.0 if gate == "always" or weighting == "threshold" else max(0.0, 2 * s.measured["accuracy"] - 1)
        assert s.weight == expected


@pytest.mark.parametrize("estimation", ["at_once", "causal"])
def test_of_the_trusted_sites_the_most_accurate_are_kept(pipe, estimation):
    settings = {**SETTINGS, "gate": "logistic", "sites": ["attention", "resnets"], "steps": [0]}
    every = fit(pipe, tiny_concept(), **settings)
    accuracy = {path: s.measured["accuracy"] for path, s in every.sites.items()}
    assert len(accuracy) > 7
    assert len(set(accuracy.values())) > 1
    wanted = sorted(accuracy, key=lambda path: -accuracy[path])[:7]  # sorting keeps the order of equals
    best = fit(pipe, tiny_concept(), **settings, estimation=estimation, top_k=7)
    assert set(best.sites) == set(wanted) if estimation == "at_once" else set(best.sites) <= set(wanted)
    assert best.manifest["fit"]["top_k"] == 7
    assert every.manifest["fit"]["top_k"] is None
    if estimation == "at_once":
        assert list(best.sites) == [path for path in accuracy if path in wanted]
        assert best.manifest["fit"]["accuracy"].items() >= accuracy.items()
        for path in wanted:
            assert torch.equal(best.sites[path].method.shift, every.sites[path].method.shift)


def test_of_sites_that_share_a_gate_the_first_are_kept(pipe):
    read = {"whether": "mid_block.attentions.0.transformer_blocks.0.attn2"}
    every = fit(pipe, tiny_concept(), read=read, **SETTINGS)
    best = fit(pipe, tiny_concept(), read=read, top_k=2, **SETTINGS)
    assert len(every.sites) == 4
    assert list(best.sites) == list(every.sites)[:2]
    assert len(fit(pipe, tiny_concept(), top_k=99, **SETTINGS).sites) == len(
        fit(pipe, tiny_concept(), **SETTINGS).sites
    )


def test_a_bad_top_k_is_refused_before_anything_is_drawn(pipe, monkeypatch):
    monkeypatch.setattr(type(pipe), "__call__", lambda *_, **__: pytest.fail("a picture was drawn"))
    with pytest.raises(InputError, match="top_k must be"):
        fit(pipe, tiny_concept(), top_k=-1, **SETTINGS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cca"}, "no steering method 'cca'. Did you mean 'caa'"),
        ({"gate": "nogate"}, "no gate 'nogate'"),
        ({"sites": "x.*"}, "matches nothing"),
        ({"tau": 0.2}, "tau must be between"),
        ({"weighting": "both"}, "weighting must be"),
        ({"map_from": "outside"}, "map_from must be"),
        ({"map_from": "inside", "towards": tiny_concept()}, "map_from='inside' needs twins"),
        ({"top_k": 0}, "top_k must be a whole number of sites from 1 on, .* but is 0"),
        ({"top_k": 1.5}, "top_k must be"),
        ({"top_k": True}, "top_k must be"),
        ({"strength": float("inf")}, "finite"),
        ({"strength": [1.0, 2.0]}, "A steerer has one strength of its own"),
        ({"regions": "detector"}, "regions must be 'twins' or a function"),
        (
            {"gate": "logistic", "regions": len, "map_from": "pooled"},
            "neither the gate 'logistic' nor map_from='pooled'",
        ),
        ({"generation": {"prompt": "x"}}, "generation holds 'prompt'"),
        ({"batch_size": 0}, "batch_size"),
        ({"read": "*.attn2"}, "matches 4 sites, but a factor is read at one"),
        ({"read": {"whither": "auto"}}, "read names the factor 'whither'"),
        ({"steps": [7]}, "No denoising step was recorded"),
        ({"positions": 0}, "positions must be at least 1"),
        ({"regions": lambda pictures: torch.full((5, 8, 8), 3.0)}, "Apply a sigmoid"),
        ({"regions": lambda pictures: torch.full((5, 8, 8), 0.3)}, "lies inside the concept's region"),
    ],
)
def test_bad_arguments_are_explained(pipe, arguments, message):
    with pytest.raises(InputError, match=message):
        fit(pipe, tiny_concept(), **{**SETTINGS, **arguments})


def test_a_set_without_targets_or_with_one_prompt_is_refused(pipe):
    concept = tiny_concept()
    with pytest.raises(InputError, match="no target prompts"):
        fit(pipe, dataclasses.replace(concept, target=(), twins=False), **SETTINGS)
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
    accuracy, auroc, _ = cross_validated(LogisticGate(), *samples)
    assert accuracy == pytest.approx(folds.mean(), abs=1e-9)
    scores = cross_val_predict(model, X, y, groups=groups, cv=GroupKFold(4), method="predict_proba")[:, 1]
    assert auroc == pytest.approx(mann_whitney(scores[y == 1], scores[y == 0]), abs=1e-3)  # PCA signs settle ties


def mann_whitney(shown: np.ndarray, other: np.ndarray) -> float:
    """AUROC by its meaning: how often a shown sample scores above another."""
    return float((shown[:, None] > other).mean() + (shown[:, None] == other).mean() / 2)


def test_a_line_by_least_squares_is_measured_by_itself_and_not_by_a_logistic_one():
    generator = torch.Generator().manual_seed(0)
    source, control = (torch.randn(12, 6, generator=generator) + shift for shift in (1.0, -1.0))
    samples = [Samples(X, torch.arange(12), X) for X in (source, control)]
    gate = ReLUGate(components=3)
    found = held_out_scores(gate, *samples, folds=12, twins=True)
    rest = [Samples(X[1:], torch.arange(1, 12), X[1:]) for X in (source, control)]
    alone = ReLUGate(components=3).reset(6).fit(*rest)  # which has not seen the first pair
    for scores, X in zip(found, (source, control), strict=True):
        assert scores[0].item() == pytest.approx(alone(X[None, :1]).item() - 0.5, abs=1e-5)


def test_recorder_keeps_every_call_and_a_few_positions(pipe):
    site = find_sites(pipe.unet, "cross-attention")[0]
    with CallReader(pipe) as calls, ActivationRecorder(pipe.unet, [site], calls, positions=3) as recorder:
        draw(pipe, ["abc", "def"])
        recorder.end_batch([7, 8])
    samples = recorder.samples()[site.path]
    assert samples.pooled.shape == (4, 64)  # 2 prompts × 2 steps
    assert samples.prompts.tolist() == [7, 8, 7, 8]
    assert samples.positions.shape == (12, 64)
    assert samples.inside is None
    assert not pipe.unet.get_submodule(site.path)._forward_hooks


def test_memory_of_positions_does_not_grow_without_bounds(pipe, monkeypatch):
    kept = []

    def recorder(*args, positions, **settings):
        kept.append(positions)
        return ActivationRecorder(*args, positions=positions, **settings)

    monkeypatch.setattr(recording, "POSITIONS", 40)
    monkeypatch.setattr(recording, "ActivationRecorder", recorder)
    fit(pipe, tiny_concept(), gate="calibrated", **SETTINGS)
    fit(pipe, tiny_concept(), gate="calibrated", **SETTINGS, steps=[1, 7])
    most = max(len(tiny_concept().texts(group)) for group in ("source", "target", "control"))
    assert kept == [max(1, 40 // (2 * most))] * 3 + [max(1, 40 // most)] * 3


def test_generation_may_hold_what_no_file_can(pipe, tmp_path):
    seen = []
    generation = {**GENERATION, "callback_on_step_end": lambda pipe, step, at, kwargs: seen.append(step) or {}}
    steerer = fit(pipe, tiny_concept(), generation=generation, progress=False, tau=0.5)
    assert seen
    assert steerer.manifest["generation"] == GENERATION
    steerer.save_pretrained(tmp_path / "steerer")


def test_recorder_keeps_chosen_steps_and_says_what_lies_inside(pipe):
    site = find_sites(pipe.unet, "cross-attention")[0]  # on a 4×4 grid, the latents having 8×8
    regions = torch.zeros(2, 8, 8)
    regions[1, :, 4:] = 1
    with CallReader(pipe) as calls, ActivationRecorder(pipe.unet, [site], calls, positions=64, steps=[1]) as recorder:
        for _ in range(2):
            draw(pipe, ["abc", "def"])
            recorder.end_batch([0, 1])
    samples = recorder.samples(regions)[site.path]
    assert samples.prompts.tolist() == [0, 1, 0, 1]
    inside = samples.inside.view(4, 64)
    assert (inside[[0, 2]] == 0).all()
    assert set(inside[[1, 3]].unique().tolist()) == {0.0, 1.0}
    assert 0.2 < inside[[1, 3]].mean() < 0.8


def test_gates_that_learn_places_are_told_them_by_twins_or_by_a_function(pipe):
    concept = tiny_concept()
    left = torch.zeros(len(concept.source), 16, 16)
    left[:, :, :8] = 1
    seen = []

    def look(pictures):
        seen.extend(pictures)
        return left

    told = fit(pipe, concept, gate="patch", regions=look, **SETTINGS)
    assert len(seen) == len(concept.source)
    assert seen[0].size == (16, 16)
    twins = fit(pipe, concept, gate="patch", **SETTINGS)
    path = next(iter(told.sites))
    assert not torch.equal(told.sites[path].gate.where_weight, twins.sites[path].gate.where_weight)
    mapped = fit(pipe, concept, gate="logistic", regions=look, **SETTINGS)  # the map alone learns the places
    assert mapped.manifest["fit"]["map_from"] == "inside"
    assert torch.equal(mapped.sites[path].method.shift, told.sites[path].method.shift)
    with pytest.raises(InputError, match="one map a picture was expected"):
        fit(pipe, concept, gate="patch", regions=lambda pictures: left[:2], **SETTINGS)
    with pytest.raises(InputError, match="not said to be the twins"):
        fit(pipe, dataclasses.replace(concept, twins=False), gate="patch", **SETTINGS)


def test_a_view_is_measured_by_what_its_cells_can_tell():
    generator = torch.Generator().manual_seed(0)
    inside = (torch.rand(1600, generator=generator) < 0.3).float()
    prompts = torch.arange(16).repeat_interleave(25)
    control = Samples(torch.zeros(400, 4), prompts, torch.randn(1600, 4, generator=generator), None)
    clear = torch.randn(1600, 4, generator=generator) + 6 * inside[:, None]
    sharp = Samples(torch.zeros(400, 4), prompts, clear, inside)
    assert place_auroc(sharp, control) > 0.99
    coarse = sharp._replace(inside=inside * 0.6)  # the concept covers no cell whole
    assert 0.6 < place_auroc(coarse, control) < 0.97
    assert place_auroc(sharp._replace(positions=torch.randn(1600, 4, generator=generator)), control) < 0.6
    assert place_auroc(sharp._replace(inside=None), control) == 0.5


def test_every_gate_may_read_another_site(pipe):
    reading = "up_blocks.0.resnets.0"
    steerer = fit(pipe, tiny_concept(), gate="logistic", read=reading, **SETTINGS)
    assert {s.reads["score"].path for s in steerer.sites.values()} == {reading}
    assert len({tuple(s.gate.weight.tolist()) for s in steerer.sites.values()}) == 1
    assert {row["reads"]["score"] for row in steerer.diagnose().sites} == {reading}


def test_factors_of_a_gate_may_read_two_sites(pipe):
    whether, where = "mid_block.attentions.0.transformer_blocks.0.attn2", "up_blocks.1.resnets.0"
    steerer = fit(pipe, tiny_concept(), gate="patch", read={"whether": whether, "where": where}, **SETTINGS)
    assert {row["reads"]["where"] for row in steerer.diagnose().sites} == {where}
    assert {row["reads"]["whether"] for row in steerer.diagnose().sites} == {whether}
    assert len({s.weight for s in steerer.sites.values()}) == 1
    own = fit(pipe, tiny_concept(), gate="patch", read={"where": where}, **SETTINGS)
    assert all(row["reads"]["whether"] == row["path"] for row in own.diagnose().sites)
    shared = next(iter(steerer.sites.values())).gate
    assert torch.allclose(shared.weight, own.sites[whether].gate.weight)
    assert torch.allclose(shared.where_weight, own.sites[whether].gate.where_weight)


def test_where_is_read_at_the_block_that_tells_places_best_and_whether_at_each_site(pipe):
    steerer = fit(pipe, tiny_concept(), gate="patch", seed=3, **SETTINGS)
    blocks = find_sites(pipe.unet, "blocks")
    drawn = recording.Recording(3, 16, GENERATION, None, 16, progress=False)
    recorded = recording.record(DenoiserHost(pipe), tiny_concept(), blocks, drawn, "twins").groups
    told = {s.path: place_auroc(recorded["source"][s.path], recorded["control"][s.path]) for s in blocks}
    assert len(set(told.values())) > 1
    assert {row["reads"]["where"] for row in steerer.diagnose().sites} == {max(told, key=lambda path: told[path])}
    assert all(row["reads"]["whether"] == row["path"] for row in steerer.diagnose().sites)
    assert len({tuple(s.gate.weight.tolist()) for s in steerer.sites.values()}) == len(steerer.sites)


def test_in_joint_attention_all_sites_read_whether_where_it_is_told_best():
    family = FAMILIES["sd3"]
    pipe = family.build()
    settings = {"generation": family.generation, "progress": False, "batch_size": 4}
    steerer = fit(pipe, tiny_concept(), gate="patch", tau=0.5, **settings)
    sites = find_sites(pipe.transformer, "joint-attention")
    assert len(sites) > 1
    drawn = recording.Recording(0, 4, family.generation, None, 16, progress=False)
    recorded = recording.record(DenoiserHost(pipe), tiny_concept(), sites, drawn, "twins").groups
    told = {
        s.path: cross_validated(PatchGate(), recorded["source"][s.path], recorded["control"][s.path]).auroc
        for s in sites
    }
    assert {row["reads"]["whether"] for row in steerer.diagnose().sites} == {max(told, key=lambda path: told[path])}


def test_recording_a_compiled_model_is_refused():
    compiled = tiny_pipeline()
    compiled.unet.compile(backend="eager")
    with pytest.raises(InputError, match="compiled"):
        fit(compiled, tiny_concept(), **SETTINGS)


def test_causal_estimation_lets_later_sites_see_the_earlier_maps(pipe):
    first, second = (
        "mid_block.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.0.attentions.0.transformer_blocks.0.attn2",
    )
    settings = {**SETTINGS, "gate": "always", "map_from": "pooled", "strength": 2.0, "seed": 5}
    concept = tiny_concept()
    causal = fit(pipe, concept, sites=[second, first], estimation="causal", **settings)
    alone = fit(pipe, concept, sites=[first], **settings)
    assert list(causal.sites) == [first, second]  # as the denoiser runs them, not as they were named
    assert torch.equal(causal.sites[first].method.shift, alone.sites[first].method.shift)
    means = []
    for texts, strength in ((concept.texts("source"), 2.0), (concept.texts("target"), 0.0)):
        seen: list[torch.Tensor] = []
        handle = pipe.unet.get_submodule(second).register_forward_hook(
            lambda m, a, o, s=seen: s.append(o[len(o) // 2 :].clone()) and None
        )
        with alone.attached(pipe, strength):
            draw(pipe, texts, seed=5)
        handle.remove()
        means.append(torch.cat(seen).double().mean((0, 1)))
    shift = causal.sites[second].method.shift.double()
    assert torch.allclose(shift, means[1] - means[0], atol=1e-5)
    at_once = fit(pipe, concept, sites=[first, second], **settings).sites[second].method.shift
    assert not torch.allclose(shift.float(), at_once, atol=1e-3)


def test_causal_gates_that_see_places_keep_the_unsteered_regions(pipe):
    steerer = fit(pipe, tiny_concept(), gate="patch", estimation="causal", **SETTINGS)
    assert steerer.manifest["fit"]["estimation"] == "causal"
    assert steerer.manifest["fit"]["map_from"] == "core"
    assert all(not m._forward_hooks for m in pipe.unet.modules())
    with pytest.raises(InputError, match="estimation must be one of"):
        fit(pipe, tiny_concept(), estimation="later", **SETTINGS)
