"""Files of every format: the old ones load and steer as they did, a newer one is refused by its number."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import draw, tiny_pipeline

from dsas_diffusion import Steerer
from dsas_diffusion.errors import InputError
from dsas_diffusion.hooks.storage import FORMAT, MANIFEST

# Written when each format was the newest, and never again; beside each, what its maps and gates answered then.
DATA = Path(__file__).parents[1] / "data"
KEPT = sorted(folder for folder in DATA.glob("format_*/*") if folder.is_dir())


def wave(channels: int) -> torch.Tensor:
    return torch.sin(torch.arange(3 * channels).float()).view(1, 3, channels)


def test_there_is_an_example_of_every_format():
    assert {folder.parent.name for folder in KEPT} == {f"format_{number}" for number in range(1, FORMAT + 1)}


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_an_old_file_steers_as_it_did(folder, tmp_path):
    recorded = load_file(folder.with_suffix(".safetensors"))
    old = Steerer.from_pretrained(folder)
    new = Steerer.from_pretrained(old.save_pretrained(tmp_path / "again"))
    for steerer in (old, new):
        answered = {}
        for path, steered in steerer.sites.items():
            answered[f"{path}/map"] = steered.method(wave(steered.site.channels))
            for factor in steered.gate.factors:
                x = wave(steered.reads.get(factor, steered.site).channels)
                answered[f"{path}/{factor}"] = steered.gate.factor(factor, x)
        assert answered.keys() == recorded.keys()
        for name, expected in recorded.items():
            assert torch.allclose(answered[name], expected, atol=1e-5), name
    assert new.diagnose() == old.diagnose()
    assert new.strength == old.strength


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_an_old_file_fits_its_pipeline_still(folder):
    pipe = tiny_pipeline(width=16)
    plain = draw(pipe, ["zzz zuzu"])
    with Steerer.from_pretrained(folder).attached(pipe, 8.0):
        assert not torch.equal(draw(pipe, ["zzz zuzu"]), plain)
    assert torch.equal(draw(pipe, ["zzz zuzu"]), plain)


@pytest.mark.parametrize("number", [2, 99])
def test_a_newer_file_is_refused_by_its_number_whatever_else_it_holds(tmp_path, number):
    (tmp_path / MANIFEST).write_text(json.dumps({"format": number, "library_version": "7.8.9", "places": []}))
    with pytest.raises(InputError, match=rf"has format {number}, .*written by dsas-diffusion 7\.8\.9: install"):
        Steerer.from_pretrained(tmp_path)


@pytest.mark.parametrize("number", [0, -1])
def test_there_is_no_format_below_the_first(tmp_path, number):
    (tmp_path / MANIFEST).write_text(json.dumps({"format": number, "library_version": "0.1"}))
    with pytest.raises(InputError, match="the first is 1"):
        Steerer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "mend",
    [
        lambda model: model["sites"][0].pop("layout"),  # a key that a later version has added
        lambda model: model["sites"][0].update(colour="a later version's"),
        lambda model: model["config"].pop("resnet_skip_time_act"),  # a setting that a later Diffusers has added
        lambda model: model.update(age=3),
    ],
)
def test_what_a_file_does_not_say_is_not_compared(tmp_path, mend):
    folder = shutil.copytree(KEPT[0], tmp_path / "old")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    mend(manifest["model"])
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    Steerer.from_pretrained(folder).attach(tiny_pipeline(width=16)).detach()
