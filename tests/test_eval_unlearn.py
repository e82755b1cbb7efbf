"""The technique for Eval-Unlearn: by its contract, and run by the benchmark itself where that is installed."""

import dataclasses
import inspect
import json
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import untrained_unet

import dsas_diffusion as dsas
from dsas_diffusion.backends.diffusion import generate
from dsas_diffusion.errors import InputError
from dsas_diffusion.eval_unlearn import DsasConfig, DsasTechnique
from dsas_diffusion.prompts import Concept, Prompt, PromptSet

GROUP = "eval_unlearn.techniques"
PROMPTS = ["a banana on a table", "a cup on a table", "an apple"]
GENERATION = {"num_inference_steps": 2, "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A pipeline with random weights and a steerer of it, saved as the benchmark is told of them."""
    folder, pipe = tmp_path_factory.mktemp("benchmark"), untrained_unet()
    pipe.save_pretrained(folder / "pipeline")
    texts = [("a banana", "a pear"), ("a big banana", "a cup"), ("two bananas", "an apple"), ("bananas", "a book")]
    concept = PromptSet(
        "banana",
        tuple(Prompt(source) for source, _ in texts),
        tuple(Prompt(other) for _, other in texts),
        tuple(Prompt(other) for _, other in texts),
        Concept("banana", "a banana"),
    )
    steerer = dsas.fit(
        pipe, concept, method="caa", gate="always", strength=3.0, generation=GENERATION, tau=0.5, progress=False
    )
    steerer.save_pretrained(folder / "steerer")
    return {"model_id": str(folder / "pipeline"), "steerer": str(folder / "steerer"), "device": "cpu"}


def entry():
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    ((name, value),) = settings["project"]["entry-points"][GROUP].items()
    return EntryPoint(name, value, GROUP)


def pixels(images):
    return np.stack([np.asarray(image) for image in images])


def drawn(pipe, seed=3):
    seeds = range(seed, seed + len(PROMPTS))
    return pixels([image for images in generate(pipe, PROMPTS, seeds, generation=GENERATION) for image in images])


def test_the_contract():
    assert entry().name == "dsas"
    assert entry().load() is DsasTechnique
    signature = inspect.signature(DsasTechnique.generate)
    assert list(signature.parameters)[:3] == ["self", "prompts", "seed"]
    assert signature.parameters["seed"].default is None
    config = DsasConfig("model", "steerer", strength=2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.strength = 1.0  # ty: ignore[invalid-assignment]
    assert DsasConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_it_draws_what_the_attached_pipeline_draws(places):
    technique, before = DsasTechnique(**places, batch_size=2), torch.get_rng_state()
    images = technique.generate(prompts=PROMPTS, seed=3)
    assert len(images) == 3
    assert all(isinstance(image, Image.Image) for image in images)
    pipe = untrained_unet()
    with dsas.Steerer.from_pretrained(places["steerer"]).attached(pipe):
        expected = drawn(pipe)
    assert np.abs(pixels(images).astype(int) - expected).max() <= 1
    assert np.array_equal(drawn(technique.pipe), drawn(pipe))  # it leaves its own pipeline unsteered
    assert not np.array_equal(drawn(pipe), expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_count(places):
    off = DsasTechnique(**places, strength=0.0)
    plain = drawn(off.pipe)[:1]
    assert np.array_equal(pixels(off.generate(PROMPTS[:1], 3)), plain)
    configured = DsasTechnique(**places, strength=0.0, num_inference_steps=1)
    with pytest.warns(UserWarning, match="num_inference_steps=1"):
        one = pixels(configured.generate(PROMPTS[:1], 3))
    with pytest.warns(UserWarning, match="num_inference_steps=1"):
        called = pixels(off.generate(PROMPTS[:1], 3, num_inference_steps=1))
    assert np.array_equal(one, called)
    assert not np.array_equal(one, plain)
    assert not np.array_equal(*(pixels(off.generate(PROMPTS[:1])) for _ in range(2)))  # without a seed by chance


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strenght": 1.0}, "holds 'strenght', which is unknown. Needed are model_id and steerer"),
        ({"steerer": ""}, "empty 'steerer'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"steerer": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_what_cannot_be_used_is_refused(places, change, message):
    with pytest.raises(InputError, match=message):
        DsasTechnique(**places | change)
    with pytest.raises(InputError, match="lacks 'model_id'"):
        DsasTechnique(steerer=places["steerer"])


def test_the_benchmark_runs_it(places, tmp_path, monkeypatch):
    """In Eval-Unlearn itself (the extra `unlearn`), found by the entry point, with a metric of the test's own."""
    from eval_unlearn.registry import register_metric
    from eval_unlearn.runners.single_benchmark_runner import SingleBenchmarkRunner
    from eval_unlearn.types import Dataset, MetricResult

    if entry() not in entry_points(group=GROUP):  # installed from an earlier state of this repository
        about = tmp_path / "technique-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: technique\nVersion: 1.0\n", encoding="utf-8")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{entry().name} = {entry().value}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
    seen = []

    class Brightness:
        def load_dataset(self):
            return [Dataset(PROMPTS[:2]), Dataset(PROMPTS[2:])]

        def update(self, images, prompts, metadata):
            seen.append((pixels(images), prompts))

        def compute(self):
            return MetricResult("brightness", float(np.concatenate([images for images, _ in seen]).mean()))

    register_metric("brightness")(Brightness)
    config = {**places, "erase_concept": "banana"}
    report = SingleBenchmarkRunner("dsas", "brightness", config, output_dir=str(tmp_path / "out"), seed=3).run()
    assert (report["technique_name"], report["erase_concept"]) == ("dsas", "banana")
    technique = DsasTechnique(**config)
    expected = [pixels(technique.generate(PROMPTS[:2], 3)), pixels(technique.generate(PROMPTS[2:], 3))]
    assert all(np.array_equal(images, own) for (images, _), own in zip(seen, expected, strict=True))
    assert report["metric_result"]["value"] == pytest.approx(np.concatenate(expected).mean())
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
