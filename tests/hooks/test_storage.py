"""A steerer's folder: the same steerer again, or one clear error."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import GENERATION, draw, tiny_concept, tiny_pipeline

from dsas_diffusion import Steerer
from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.hooks.storage import MANIFEST, TENSORS


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def steerer(pipe):
    return fit(pipe, tiny_concept(), tau=0.5, strength=2.0, generation=GENERATION, progress=False)


@pytest.fixture
def folder(steerer, tmp_path):
    return steerer.save_pretrained(tmp_path / "off")


def test_loaded_steerer_draws_the_same_pictures(pipe, steerer, folder):
    loaded = Steerer.from_pretrained(folder)
    pictures = []
    for one in (steerer, loaded):
        with one.attached(pipe):
            pictures.append(draw(pipe, ["zzz zuzu", "eee"]))
    assert torch.equal(*pictures)
    assert loaded.strength == 2.0
    assert loaded.diagnose() == steerer.diagnose()
    assert loaded.concept == "zzz"


def test_a_steerer_whose_gates_read_elsewhere_comes_back_whole(pipe, tmp_path):
    read = {"where": "up_blocks.1.resnets.0", "whether": "mid_block.attentions.0.transformer_blocks.0.attn2"}
    steerer = fit(pipe, tiny_concept(), gate="patch", read=read, tau=0.5, strength=3.0,
                  generation=GENERATION, progress=False)  # fmt: skip
    loaded = Steerer.from_pretrained(steerer.save_pretrained(tmp_path / "off"))
    assert len({id(s.gate) for s in loaded.sites.values()}) == len({id(s.gate) for s in steerer.sites.values()}) == 1
    assert [s.reads for s in loaded.sites.values()] == [s.reads for s in steerer.sites.values()]
    pictures = []
    for one in (steerer, loaded):
        with one.attached(pipe):
            pictures.append(draw(pipe, ["zzz zuzu", "eee"]))
    assert torch.equal(*pictures)


def test_manifest_tells_where_the_steerer_came_from(folder):
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["format"] == 1
    assert manifest["model"]["class"] == "UNet2DConditionModel"
    assert manifest["method"] == {"name": "caa", "settings": {}}
    assert manifest["gate"] == {
        "name": "patch",
        "settings": {"components": 20, "where_components": 16, "control_mean": 0.02, "dead_zone": 0.1, "core": 1.0},
    }
    assert manifest["generation"] == GENERATION
    assert manifest["prompts"] == {"name": "tiny", "digest": tiny_concept().digest}
    assert set(manifest["fit"]["samples"]) == {"source", "target", "control"}


def test_saving_twice_needs_leave(steerer, folder):
    with pytest.raises(InputError, match="exists and is not empty"):
        steerer.save_pretrained(folder)
    assert steerer.save_pretrained(folder, overwrite=True) == folder


def test_a_foreign_folder_is_never_overwritten(steerer, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match=r"letter\.txt"):
        steerer.save_pretrained(tmp_path, overwrite=True)


def change(folder, **entries):
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, **entries}), encoding="utf-8")


def change_site(folder, **entries):
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(folder, sites=[{**manifest["sites"][0], **entries}, *manifest["sites"][1:]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / TENSORS).unlink(), "is missing"),
        (lambda f: (f / MANIFEST).unlink(), "Can't read"),
        (lambda f: (f / TENSORS).write_bytes((f / TENSORS).read_bytes()[:-40]), "damaged or cut off"),
        (lambda f: (f / TENSORS).write_bytes(b""), "damaged or cut off"),
        (lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text()[:50]), "not valid JSON"),
        (lambda f: change(f, format=2), "format 2"),
        (lambda f: change(f, sites=[]), "lists no site"),
        (lambda f: change(f, sites={}), "wrong entry 'sites'"),
        (lambda f: change_site(f, measured={"accuracy": 1}), "no entry 'auroc'"),
        (lambda f: change_site(f, reads={"score": {"path": "x"}}), "no entry 'kind'"),
        (lambda f: change(f, strength="high"), "wrong entry 'strength'"),
        (lambda f: change(f, gate={"name": "logistik", "settings": {}}), "no gate 'logistik'"),
        (lambda f: change(f, gate={"name": "logistic", "settings": {"depth": 3}}), "does not know"),
        (lambda f: change(f, method={"name": "caa"}), "no entry 'settings'"),
    ],
)
def test_damaged_folders_are_explained(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        Steerer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [(torch.zeros(3), "has shape"), (torch.full((64,), torch.nan), "is not finite"), (None, "is missing")],
)
def test_wrong_tensors_are_explained(folder, tensor, message):
    tensors = load_file(folder / TENSORS)
    name = next(key for key in tensors if key.endswith("/method.shift"))
    tensors.pop(name)
    save_file(tensors if tensor is None else {**tensors, name: tensor}, folder / TENSORS)
    with pytest.raises(InputError, match=message):
        Steerer.from_pretrained(folder)


def test_a_place_that_is_neither_folder_nor_repository_is_explained(tmp_path):
    with pytest.raises(InputError, match="no steerer could be fetched"):
        Steerer.from_pretrained(tmp_path / "nothing here")


def test_ungated_steerer_has_the_same_maps_open_everywhere(pipe, steerer, tmp_path):
    vanilla = steerer.ungated()
    assert {s.weight for s in vanilla.sites.values()} == {1.0}
    expected = fit(pipe, tiny_concept(), gate="always", map_from="core", tau=0.5, strength=2.0,
                   generation=GENERATION, progress=False)  # fmt: skip
    pictures = []
    for one in (vanilla, expected, Steerer.from_pretrained(vanilla.save_pretrained(tmp_path / "vanilla"))):
        with one.attached(pipe):
            pictures.append(draw(pipe, ["zzz zuzu"]))
    assert torch.equal(pictures[0], pictures[1])
    assert torch.equal(pictures[0], pictures[2])
