"""Steered activations beside original ones: in closed form, on every kind of model, and what can't be compared."""

from dataclasses import replace

import pytest
import torch
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer

import dsas_diffusion as dsas
from dsas_diffusion import orchard
from dsas_diffusion.evaluation.steered_twins import Twins, changes, cosines, steered_twins

PATHS = ["model.layers.0", "model.layers.1"]


@pytest.fixture(scope="module")
def lm():
    return model("llama")


def fitted(lm, **settings):
    settings = {"gate": "always", "sites": PATHS[0], **settings}
    return dsas.fit(lm, rudeness(), tokenizer=tokenizer(), progress=False, **settings)


def test_turned_and_moved_in_closed_form():
    original = torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [0.0, 0.0]])
    steered = torch.tensor([[6.0, 8.0], [-4.0, 3.0], [3.0, 4.0], [0.0, 0.0]])
    twins = Twins(original, steered)
    assert cosines(twins).tolist() == pytest.approx([1, 0, 1, 0])
    assert changes(twins).tolist() == pytest.approx([1, 2**0.5, 0, 0])


def test_a_steered_layer_moves_by_its_map_and_later_ones_follow(lm):
    steerer = fitted(lm)
    shift = steerer.sites[PATHS[0]].method.shift
    texts = [SOURCE[0], SOURCE[3], CONTROL[0]]
    for text, twins in zip(texts, steered_twins(lm, steerer, texts, tokenizer=tokenizer(), strength=2.0), strict=True):
        first, second = (twins[path] for path in PATHS)
        assert len(first.original) == len(tokenizer()(text)["input_ids"])  # no padding
        assert torch.allclose(first.steered - first.original, (2 * shift).expand_as(first.original), atol=1e-5)
        assert changes(second).min() > 0
        assert cosines(second).max() < 1
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.modules())
    assert not any(module._diffusers_hook.hooks for module in lm.modules() if hasattr(module, "_diffusers_hook"))


def test_neither_batches_nor_zero_strength_matter(lm):
    steerer, words = fitted(lm), tokenizer()
    texts = [*SOURCE[:3], *CONTROL[:2]]
    whole, single = (list(steered_twins(lm, steerer, texts, tokenizer=words, batch_size=n)) for n in (5, 1))
    for one, other in zip(whole, single, strict=True):
        for path in PATHS:
            assert torch.allclose(changes(one[path]), changes(other[path]), atol=1e-4)
    off = steered_twins(lm, steerer, texts, tokenizer=words, strength=0.0)
    assert all(torch.equal(*twins[path]) for twins in off for path in PATHS)


def test_an_encoder_and_both_parts_of_an_encoder_decoder_model_are_compared():
    for name, path in (("bert", "encoder.layer.0"), ("t5", "encoder.block.0")):
        other = model(name)
        steerer = fitted(other, sites=path)
        twins = next(steered_twins(other, steerer, SOURCE[:1], tokenizer=tokenizer(), sites=path))[path]
        assert changes(twins).min() > 0


def test_a_pipeline_draws_twins_from_one_seed():
    pipe = orchard.load_pipeline("unet")
    generation = {"num_inference_steps": 2}
    every = dsas.load_prompts("orchard/banana")
    few = {group: getattr(every, group)[:4] for group in ("source", "target", "control")}
    prompts = replace(every, **few)
    steerer = dsas.fit(pipe, prompts, gate="always", generation=generation, sites="mid_block*attn2", progress=False)
    path = next(iter(steerer.sites))
    texts = prompts.texts("tuning_source")[:2]
    found = list(steered_twins(pipe, steerer, texts, sites=path, generation=generation, batch_size=1))
    assert [len(twins[path].original) for twins in found] == [2 * 16, 2 * 16]
    shift = steerer.sites[path].method.shift
    first = found[0][path]
    assert torch.allclose((first.steered - first.original)[:16], shift.expand(16, -1), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"texts": []}, "No text was given"),
        ({"sites": "attention-heads"}, r"is an attention head.*sites='attention'"),
        ({"tokenizer": None}, "no tokenizer was given"),
    ],
)
def test_what_cant_be_compared_is_refused(lm, settings, message):
    given = {"texts": SOURCE[:1], "tokenizer": tokenizer(), **settings}
    with pytest.raises(dsas.InputError, match=message):
        next(steered_twins(lm, fitted(lm), given.pop("texts"), **given))
