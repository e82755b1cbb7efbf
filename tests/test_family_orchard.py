"""Every method and gate on Orchard's U-Net, with few steps, and on its language model."""

import pytest
import torch

from dsas_diffusion import Steerer, fit, load_prompts, orchard
from dsas_diffusion.backends.diffusion import generate
from dsas_diffusion.fitting.training_loop import Training
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.methods.base import METHODS

pytestmark = pytest.mark.full

GENERATION = {"num_inference_steps": 4, "guidance_scale": 7.5}
PAIRS = [*((method, "patch") for method in METHODS), *(("caa", gate) for gate in GATES if gate != "patch")]


@pytest.fixture(scope="module")
def pipe():
    return orchard.load_pipeline("unet")


def draw(pipe, prompts) -> torch.Tensor:
    settings = {**GENERATION, "output_type": "pt"}
    return torch.cat(list(generate(pipe, prompts, range(len(prompts)), generation=settings)))


@pytest.mark.parametrize(("method", "gate"), PAIRS)
def test_it_changes_what_shows_the_concept_more_than_what_does_not(pipe, tmp_path, method, gate):
    concept = load_prompts("orchard/banana")
    training = Training(iterations=60) if METHODS[method].needs_gradients else None
    blind = gate in ("always", "cast")  # CAST's first principal component is not the concept's here (docs/gates.md)
    steerer = fit(
        pipe,
        concept,
        method=method,
        gate=gate,
        training=training,
        tau=0.5 if blind else 0.6,
        generation=GENERATION,
        progress=False,
    )
    groups = {name: concept.texts(name)[:12] for name in ("source", "control")}
    change = {}
    for name, texts in groups.items():
        plain = draw(pipe, texts)
        with steerer.attached(pipe, 0.0):
            assert torch.equal(draw(pipe, texts), plain)
        with steerer.attached(pipe, 2.0):
            steered = draw(pipe, texts)
        assert torch.equal(draw(pipe, texts), plain)
        change[name] = (steered - plain).abs().mean().item()
    assert change["source"] > 0
    if not blind:
        assert change["source"] > 1.5 * change["control"]
    steerer.save_pretrained(tmp_path / "steerer")
    with Steerer.from_pretrained(tmp_path / "steerer").attached(pipe, 2.0):
        assert torch.equal(draw(pipe, groups["control"]), steered)


@pytest.fixture(scope="module")
def language():
    return orchard.load_language_model()


TEXT_PAIRS = [
    *((method, "logistic") for method in METHODS),
    *(("caa", name) for name, gate in GATES.items() if name != "logistic" and not gate.sees_places),
]


@pytest.mark.parametrize(("method", "gate"), TEXT_PAIRS)
def test_it_changes_rude_answers_more_than_others(language, tmp_path, method, gate):
    model, tokenizer = language
    concept = load_prompts("orchard/rudeness")
    training = Training(iterations=60) if METHODS[method].needs_gradients else None
    steerer = fit(
        model, concept, tokenizer=tokenizer, method=method, gate=gate, training=training, sites="attention",
        tokens="last", tau=0.5 if gate in ("always", "cast") else 0.6, progress=False,
    )  # fmt: skip
    steerer.save_pretrained(tmp_path / "steerer")
    steerer = Steerer.from_pretrained(tmp_path / "steerer")
    moved = {}
    for name in ("tuning_source", "tuning_control"):
        inputs = tokenizer(concept.texts(name), return_tensors="pt", padding=True)
        with torch.no_grad():
            plain = model(**inputs).logits[:, -1].softmax(-1)
            with steerer.attached(model, 0.0):
                assert torch.equal(model(**inputs).logits[:, -1].softmax(-1), plain)
            with steerer.attached(model, 2.0):
                steered = model(**inputs).logits[:, -1].softmax(-1)
        moved[name] = (steered - plain).abs().sum(1).mean().item() / 2  # total variation of the next token
    assert moved["tuning_source"] > 0.05
    if gate != "always":
        assert moved["tuning_source"] > 1.5 * moved["tuning_control"]
