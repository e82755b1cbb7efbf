"""Every steering method and every gate on Orchard's U-Net, with few steps: what tiny random models can't show."""

import pytest
import torch

from dsas_diffusion import Steerer, fit, load_prompts, orchard
from dsas_diffusion.backends.diffusion import generate
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.methods.base import METHODS
from dsas_diffusion.training_loop import Training

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
