"""calibrate(): the smallest strength that is enough, the largest that is allowed, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny import GENERATION, tiny_concept, tiny_pipeline

from dsas_diffusion import Steerer, calibrate, load_prompts, orchard
from dsas_diffusion.backends.diffusion import generate
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.presence import present
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.prompts import Prompt

TUNING = ("zzz zuzu s", "zzz zuzu t")


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture
def steerer(pipe):
    return fit(pipe, tiny_concept(), gate="always", tau=0.5, generation=GENERATION, progress=False)


@pytest.fixture
def concept():
    prompts = tuple(Prompt(text) for text in TUNING)
    return dataclasses.replace(tiny_concept(), tuning={"source": prompts, "control": prompts})


def drawn(pipe, steerer, strength: float) -> np.ndarray:
    with steerer.attached(pipe, strength):
        images = [i for batch in generate(pipe, TUNING, range(7, 9), generation=GENERATION) for i in batch]
    return np.stack([np.asarray(image, dtype=float) / 255 for image in images])


def test_budget_gives_the_largest_strength_within_it(pipe, steerer, concept):
    plain = drawn(pipe, steerer, 0)

    def changed(strength: float) -> float:
        return np.abs(drawn(pipe, steerer, strength) - plain).mean()

    budget = float(changed(2.0)) + 1e-9
    found = calibrate(pipe, steerer, concept, budget=budget, seed=7, highest=4, progress=False)
    assert 2.0 <= found < 2.125
    assert steerer.strength == found
    assert changed(found) <= budget
    curve = steerer.manifest["calibration"]["curve"]
    assert [pair[0] for pair in curve] == sorted(pair[0] for pair in curve)
    assert curve[-1] == [4.0, pytest.approx(changed(4.0))]


def test_removal_gives_the_smallest_strength_that_is_enough(pipe, steerer, concept, tmp_path):
    plain = drawn(pipe, steerer, 0)
    edge = np.abs(drawn(pipe, steerer, 3.0) - plain).mean((1, 2, 3)).max()

    def shows(images):
        now = np.stack([np.asarray(image, dtype=float) / 255 for image in images])
        return torch.from_numpy(np.abs(now - plain).mean((1, 2, 3)) < edge)

    found = calibrate(pipe, steerer, concept, removal=0.5, shows=shows, seed=7, highest=8, progress=False)
    assert 3.0 <= found <= 3.125
    loaded = Steerer.from_pretrained(steerer.save_pretrained(tmp_path / "steerer"))
    assert loaded.strength == found
    assert loaded.manifest["calibration"] == steerer.manifest["calibration"]
    assert loaded.manifest["calibration"]["wanted"] == {"removal": 0.5}


def test_what_cannot_be_reached_is_said_with_the_best(pipe, steerer, concept):
    with pytest.raises(InputError, match="No strength up to 2 removes 90%: at 2 it is 0%"):
        calibrate(pipe, steerer, concept, removal=0.9, shows=lambda i: torch.ones(len(i)), highest=2, progress=False)
    assert "calibration" not in steerer.manifest
    with pytest.raises(InputError, match="No unsteered picture"):
        calibrate(pipe, steerer, concept, removal=0.9, shows=lambda i: torch.zeros(len(i)), progress=False)
    assert calibrate(pipe, steerer, concept, budget=0.99, highest=2, progress=False) == 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "Ask for one of removal"),
        ({"removal": 0.9, "budget": 0.1}, "Ask for one of removal"),
        ({"removal": 0.9}, "shows= a function"),
        ({"removal": 1.5, "shows": torch.ones}, r"removal=1\.5"),
        ({"budget": 0.0}, r"budget=0\.0"),
        ({"budget": 0.1, "highest": float("nan")}, "highest must be"),
    ],
)
def test_bad_arguments_are_explained(pipe, steerer, concept, asked, message):
    with pytest.raises(InputError, match=message):
        calibrate(pipe, steerer, concept, **asked)


def test_a_set_without_tuning_prompts_is_refused(pipe, steerer):
    with pytest.raises(InputError, match="no tuning prompts"):
        calibrate(pipe, steerer, tiny_concept(), budget=0.1)


@pytest.mark.full
def test_bananas_are_removed_as_asked():
    pipe, detector = orchard.load_pipeline("unet"), orchard.load_detector()
    settings = {"num_inference_steps": 12, "guidance_scale": 7.5}
    steerer = fit(pipe, load_prompts("orchard/banana"), generation=settings, progress=False)

    def shows(images):
        return present(detector(images).probabilities, "banana")

    found = calibrate(pipe, steerer, "orchard/banana", removal=0.8, shows=shows, progress=False)
    curve = dict(steerer.manifest["calibration"]["curve"])
    assert 0.5 < found < 5
    assert curve[found] >= 0.8 > curve[max(strength for strength in curve if strength < found)]
