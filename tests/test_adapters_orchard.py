"""Several concepts at once on Orchard's U-Net: both are gone, a third stays as it was."""

import pytest
import torch

import dsas_diffusion as dsas
from dsas_diffusion import orchard
from dsas_diffusion.backends.diffusion import generate

pytestmark = pytest.mark.full

GENERATION = {"num_inference_steps": 20, "guidance_scale": 7.5}
GROUNDS = ("wooden", "blue", "green", "grey")
PROMPTS = {
    "banana": [f"a banana on a {ground} table" for ground in GROUNDS],
    "apple": [f"an apple on a {ground} table" for ground in GROUNDS],
    "both": [f"a banana and an apple on a {ground} table" for ground in GROUNDS],
    "pear": [f"a pear on a {ground} table" for ground in GROUNDS],
}


@pytest.fixture(scope="module")
def pipe():
    pipe = orchard.load_pipeline("unet")
    for name in ("banana", "apple"):
        steerer = dsas.fit(pipe, dsas.load_prompts(f"orchard/{name}"), generation=GENERATION, progress=False)
        dsas.load_steering(pipe, steerer, name)
    return pipe


def draw(pipe, kind):
    return [p for part in generate(pipe, PROMPTS[kind], range(7, 11), generation=GENERATION) for p in part]


def test_banana_and_apple_are_gone_and_pears_are_the_same(pipe):
    detector = orchard.load_detector()
    shown = {}
    for strengths in ({"banana": 0.0, "apple": 0.0}, {"banana": 2.5, "apple": 2.5}, {"banana": 2.5}):
        dsas.set_steering(pipe, strengths)
        drawn = {kind: draw(pipe, kind) for kind in PROMPTS}
        found = {kind: detector(pictures).probabilities for kind, pictures in drawn.items()}
        key = tuple(name for name, strength in strengths.items() if strength)
        shown[key] = {
            (kind, fruit): (found[kind][fruit] > 0.5).float().mean().item()
            for kind in PROMPTS
            for fruit in ("banana", "apple", "pear")
        } | {"pears": torch.stack([torch.tensor(list(picture.tobytes())) for picture in drawn["pear"]]).float()}
    none, both, one = shown[()], shown["banana", "apple"], shown["banana",]
    assert none["banana", "banana"] == none["apple", "apple"] == none["pear", "pear"] == 1
    assert none["both", "banana"] >= 0.75
    assert none["both", "apple"] >= 0.75
    for kind, fruit in (("banana", "banana"), ("apple", "apple"), ("both", "banana"), ("both", "apple")):
        assert both[kind, fruit] <= 0.25, (kind, fruit)
    assert one["apple", "apple"] == 1
    assert one["both", "banana"] <= 0.25
    assert one["both", "apple"] >= 0.75
    assert both["pear", "pear"] == 1
    assert (both["pears"] - none["pears"]).abs().mean() < 1  # of 255
