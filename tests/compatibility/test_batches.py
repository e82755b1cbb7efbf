"""Batches: steered and unsteered prompts together, and prompts that come as embeddings."""

import torch
from tiny import STRENGTH
from works import works

from compatibility.case import PROMPTS, QUIET, Case, pictures_of, seeds

pytestmark = QUIET


@works("Batches", "Steered and unsteered prompts in one batch, with `num_images_per_prompt`",
       "λ is one number per prompt; a prompt with λ = 0 is drawn bit for bit as without a steerer",
       "sd flux sdxl sd3 zimage")  # fmt: skip
def test_mixed_batches(name):
    case = Case(name)
    plain = case.draw(num_images_per_prompt=2)
    with case.steerer.attached(case.pipe, [0.0, STRENGTH]):
        mixed = case.draw(num_images_per_prompt=2)
    assert torch.equal(mixed[:2], plain[:2])
    assert ((mixed[2:] - plain[2:]).abs().flatten(1).amax(1) > 1e-3).all()


@works("Batches", "Prompt embeddings, and a pipeline without a text encoder", "the same pictures", "sd")
def test_prompt_embeddings(name):
    case = Case(name)
    ours, theirs = case.pipe.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=True)
    settings = {**case.family.generation, "output_type": "pt"}
    case.pipe.text_encoder = None
    with case.steerer.attached(case.pipe):
        found = case.pipe(prompt_embeds=ours, negative_prompt_embeds=theirs, generator=seeds(), **settings).images
    assert torch.equal(found, pictures_of(name)[1])
