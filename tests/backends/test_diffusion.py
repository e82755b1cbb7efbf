"""Generation: a picture depends on its prompt and seed alone, and the pipeline is left as it was."""

import torch
from tiny import GENERATION, tiny_pipeline

from dsas_diffusion.backends.diffusion import generate


def test_a_picture_does_not_depend_on_its_batch():
    pipe = tiny_pipeline()
    prompts, seeds = ["abc", "def", "ghi"], [3, 4, 5]
    settings = {**GENERATION, "output_type": "pt"}
    whole, single = (torch.cat(list(generate(pipe, prompts, seeds, batch_size=n, generation=settings))) for n in (3, 1))
    assert torch.allclose(whole, single, atol=1e-4)


def test_the_progress_bar_setting_comes_back():
    pipe = tiny_pipeline()
    pipe.set_progress_bar_config(disable=None, leave=True)
    list(generate(pipe, ["abc"], [0], generation=GENERATION))
    assert pipe._progress_bar_config == {"disable": None, "leave": True}
