"""Failures that a fit can be told by: each provoked, and none where all is well."""

import dataclasses

import pytest
from tiny import GENERATION, tiny_concept, tiny_pipeline

from dsas_diffusion import Steerer
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.prompts import Prompt

SETTINGS = {"generation": GENERATION, "progress": False, "tau": 0.5, "gate": "logistic"}


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def test_a_good_fit_has_no_failure_and_keeps_that_when_saved(pipe, tmp_path):
    steerer = fit(pipe, tiny_concept(), **SETTINGS)
    found = steerer.diagnose()
    assert found.failures == {}
    assert [row["accuracy"] for row in found.sites] == sorted((row["accuracy"] for row in found.sites), reverse=True)
    assert all(0.5 < row["auroc_to_target"] <= 1 for row in found.sites)
    steerer.save_pretrained(tmp_path / "steerer")
    assert Steerer.from_pretrained(tmp_path / "steerer").diagnose() == found


def test_control_prompts_that_show_the_concept_are_named(pipe):
    concept = tiny_concept()
    stray = Prompt(concept.source[0].text + " zz", ("z",))
    mixed = dataclasses.replace(concept, control=(*concept.control, stray))
    failures = fit(pipe, mixed, **SETTINGS).diagnose().failures
    # With another torch come other random weights, on which so mixed a gate may be half open as well.
    assert set(failures) - {"half_open"} == {"control_overlaps"}
    assert repr(stray.text) in failures["control_overlaps"]
    assert f"1 of {len(mixed.control)} control prompts" in failures["control_overlaps"]


def test_source_pictures_that_are_like_the_targets_are_noticed(pipe):
    concept = tiny_concept()
    same = dataclasses.replace(concept, target=concept.source)
    failures = fit(pipe, same, **SETTINGS).diagnose().failures
    assert set(failures) == {"source_without_concept"}
    assert "may not show" in failures["source_without_concept"]


def test_gates_that_are_half_open_everywhere_are_noticed(pipe):
    concept = tiny_concept()
    words = [prompt.text for prompt in (*concept.source, *concept.control)]
    halves = [tuple(Prompt(text, ()) for text in words[part::2]) for part in (0, 1)]
    nothing = dataclasses.replace(concept, source=halves[0], control=halves[1], twins=False)
    found = fit(pipe, nothing, **{**SETTINGS, "tau": 0.5, "sites": "all"}, weighting="threshold").diagnose()
    assert "half_open" in found.failures
