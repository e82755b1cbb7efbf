"""Studies of sets: control sets, gates on another set than their own, taken up again, figures counted by hand."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from dsas_diffusion import orchard
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.layers import sides
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.prompts import load_prompts
from dsas_diffusion.recipes.arena import fit_recipe, load_arena
from dsas_diffusion.recipes.files import load_protocol, load_recipe, load_studies
from dsas_diffusion.recipes.material import draw_set
from dsas_diffusion.recipes.studies import CONTROLS, gates_on, run_studies
from dsas_diffusion.recipes.study_sets import load_set, random_texts

FOLDER = Path(__file__).parents[2] / "examples" / "paper"
SETS = ("names", "scorn")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """The committed studies with as little of everything as there can be."""
    folder = tmp_path_factory.mktemp("studies")
    protocol = yaml.safe_load((FOLDER / "protocol.yaml").read_text())
    protocol["strengths"] = [1]
    sizes = dict.fromkeys(protocol["data"]["orchard"]["sizes"], 4)
    protocol["data"]["orchard"] |= {"sizes": sizes, "generation": {"max_new_tokens": 12}}
    studies = yaml.safe_load((FOLDER / "studies.yaml").read_text())
    studies |= {"prompts_a_set": 16, "seeds": [0], "heldout": 6, "tuning": 4}
    for name, content in (("protocol", protocol), ("studies", studies)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    shutil.copy(FOLDER / "caa.yaml", folder)
    shutil.copy(FOLDER / "caa-dsas.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run of both studies."""
    out = tmp_path_factory.mktemp("out")
    return out, run_studies(tiny, ["orchard"], out / "studies", out / "page.md", "cpu", progress=False)


def test_both_studies_are_measured(whole):
    out, told = whole
    assert (out / "page.md").read_text() == told
    found = json.loads((out / "page.json").read_text())["models"]["orchard"]
    assert set(found["control"]) == set(CONTROLS)
    assert set(found["cross"]) == set(SETS)
    for variants, tests in ((found["control"], ("curated", "random")), (found["cross"], SETS)):
        for each in variants.values():
            for on in tests:
                figures = each["on"][on]
                assert (figures["right"]["count"], figures["unchanged"]["count"]) == (12, 6)
                removal = figures["steered"]["mean"] - figures["unsteered"]["mean"]
                assert figures["removal"]["mean"] == pytest.approx(removal)
    own, other = (found["cross"]["names"]["on"][name] for name in SETS)
    assert own["above"]["mean"] > 0.6
    assert own["steered"]["mean"] < min(own["unsteered"]["mean"], other["steered"]["mean"])
    assert "| names | scorn | 1 |" in told
    assert "the target prompts (C = T) | random" in told


def test_taken_up_again_only_what_is_missing_is_made(whole, tiny):
    out, told = whole
    cells = out / "studies" / "orchard" / "cells"
    kept = {path.name: path.stat().st_mtime_ns for path in cells.iterdir()}
    assert len(kept) == 5
    missing = cells / "control-random-0.json"
    before = json.loads(missing.read_text())
    missing.unlink()
    assert run_studies(tiny, ["orchard"], out / "studies", out / "page.md", "cpu", progress=False) == told
    assert json.loads(missing.read_text()) == before
    assert {path.name for path in cells.iterdir() if path.stat().st_mtime_ns != kept[path.name]} == {missing.name}


def test_other_settings_do_not_mix(whole, tiny, tmp_path):
    out, _ = whole
    shutil.copytree(tiny, tmp_path / "other")
    studies = yaml.safe_load((tiny / "studies.yaml").read_text()) | {"heldout": 5}
    (tmp_path / "other" / "studies.yaml").write_text(yaml.safe_dump(studies))
    with pytest.raises(InputError, match="another heldout"):
        run_studies(tmp_path / "other", ["orchard"], out / "studies", None, "cpu", progress=False)


def test_gates_are_measured_as_scikit_learn_does(tiny):
    arena = load_arena(load_protocol(tiny / "protocol.yaml"), "orchard", "cpu")
    recipe, own = load_recipe(tiny / "caa-dsas.yaml"), load_set("names", "orchard/rudeness-names", arena.data, 9, 4)
    place = recipe.place("orchard")
    steerer = fit_recipe(arena, recipe, place, draw_set("a", own.concept, own.pool, 24, 0), 0)
    found = gates_on(arena, steerer, place, own.heldout)
    assert (len(found["right"]), len(found["above"])) == (18, 9)
    sites = [site for site in find_sites(arena.model, "attention") if site.path in steerer.sites]
    heldout = load_prompts("orchard/rudeness-names")
    seen = sides(arena.model, heldout, sites, "heldout", tokenizer=arena.tokenizer, tokens="last")
    truth = np.repeat([1, 0], 9)
    aurocs, accuracies = [], []
    for site in sites:
        gate = steerer.sites[site.path].gate
        scores = np.concatenate([gate(part.pooled[:9, None])[:, 0].numpy() for part in seen[site.path]])
        aurocs.append(roc_auc_score(truth, scores))
        accuracies.append(((scores > 0.5) == truth).mean())
    assert np.mean(found["above"]) == pytest.approx(np.mean(aurocs), abs=1e-6)
    assert np.mean(found["right"]) == pytest.approx(np.mean(accuracies), abs=1e-6)


def test_random_texts_are_cut_and_apart(tiny):
    data = load_protocol(tiny / "protocol.yaml").data["orchard"]
    fit, heldout = random_texts(data, None, 40, 40)
    assert len(set(fit)) == len(set(heldout)) == 40
    assert not set(fit) & set(heldout)
    whole = orchard.sample_text(orchard.SEEDS["tuning"][1000], "description").text.split()
    assert fit[0] == " ".join(whole[: (len(whole) + 1) // 2])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": []}, "1 seed or more"),
        ({"heldout": 1}, "heldout 1"),
        ({"recipe": "cca"}, "no recipe 'cca'.*Did you mean 'caa'"),
        ({"sets": {"orchard": {"names": "orchard/rudeness-names"}}}, "1 sets for the model 'orchard'"),
        ({"sets": {"orchard": {"names": "orchard/rudness", "scorn": "orchard/rudeness-scorn"}}}, "no prompt set"),
        ({"prompts_a_set": 33}, "32 source prompts to draw from, but 33"),
        ({"sizes": 1}, "Did you mean|has the key 'sizes'"),
    ],
)
def test_studies_that_can_not_be_run_are_refused(tiny, tmp_path, change, told):
    folder = tmp_path / "recipes"
    shutil.copytree(tiny, folder)
    studies = yaml.safe_load((tiny / "studies.yaml").read_text()) | change
    (folder / "studies.yaml").write_text(yaml.safe_dump(studies))
    with pytest.raises(InputError, match=told):
        run_studies(folder, ["orchard"], tmp_path / "out", None, "cpu", progress=False)


def test_the_committed_studies_are_read():
    studies = load_studies(FOLDER / "studies.yaml")
    protocol = load_protocol(FOLDER / "protocol.yaml")
    assert set(studies.sets) == set(protocol.models)
    assert all(len(studies.sets_of(model)) == 2 for model in protocol.models)
