"""The committed judges reach what is asked of them, and every committed model is what its card says."""

import json

import pytest

from dsas_diffusion import orchard
from dsas_diffusion.orchard.measures import clip_figures, detector_figures, pipeline_figures
from dsas_diffusion.orchard.pipeline import PIPELINES
from dsas_diffusion.orchard.text.measures import language_figures
from dsas_diffusion.orchard.training.dit import build_transformer
from dsas_diffusion.orchard.training.unet import build_unet
from dsas_diffusion.orchard.weight_files import WEIGHTS

MEGABYTE = 1_000_000


def missed(figures):
    return [(figure.name, figure.value, figure.asked) for figure in figures if not figure.met]


def test_the_detector_on_a_few_scenes():
    assert missed(detector_figures(orchard.load_detector(), 250)) == []


def test_the_clip_on_a_few_scenes():
    assert missed(clip_figures(orchard.load_clip(), 250)) == []


def test_the_language_model_on_a_few_texts():
    assert missed(language_figures(*orchard.load_language_model(), 250)) == []


def test_weights_stay_small():
    files = [file for file in WEIGHTS.rglob("*") if file.is_file()]
    assert max(file.stat().st_size for file in files) <= 16 * MEGABYTE
    assert sum(file.stat().st_size for file in files) <= 30 * MEGABYTE
    assert (WEIGHTS / "language" / "model.safetensors").stat().st_size <= 0.85 * MEGABYTE


@pytest.mark.parametrize(
    ("name", "part", "build"), [("unet", "unet", build_unet), ("dit", "transformer", build_transformer)]
)
def test_training_can_go_on_from_the_committed_denoiser(name, part, build):
    committed = getattr(orchard.load_pipeline(name), part)
    denoiser = build()
    denoiser.load_state_dict(committed.state_dict())  # raises if they differ
    now, then = (json.loads(model.to_json_string()) for model in (denoiser, committed))
    assert {key: value for key, value in then.items() if not key.startswith("_") and now[key] != value} == {}


@pytest.mark.full
def test_the_detector():
    assert missed(detector_figures(orchard.load_detector(), 2000)) == []


@pytest.mark.full
def test_the_clip():
    assert missed(clip_figures(orchard.load_clip(), 2000)) == []


@pytest.mark.full
def test_the_language_model():
    assert missed(language_figures(*orchard.load_language_model(), 2000)) == []


def test_cards_show_the_committed_figures():
    written = json.loads((WEIGHTS / "figures.json").read_text(encoding="utf-8"))
    for record in written["figures"]:
        if record["model"] != "scenes":
            card = (WEIGHTS / record["model"] / "README.md").read_text(encoding="utf-8")
            assert f"| {record['figure']} | {record['value']:.1%} |" in card


@pytest.mark.full
@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline(name):
    assert missed(pipeline_figures(name, orchard.load_pipeline(name), orchard.load_detector(), 200)) == []
