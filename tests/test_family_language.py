"""Every steering method and every gate for positions on a tiny language model: tokens are positions, too."""

from contextlib import contextmanager

import pytest
import torch
from tiny_language import CONTROL, SOURCE, TARGET, WIDTH, tiny_language_model, tokens_of

from dsas_diffusion.core.registry import settings_of
from dsas_diffusion.core.steer import steer
from dsas_diffusion.gates.base import GATES, Samples
from dsas_diffusion.methods.base import METHODS

# A gate that averages over positions would average over padding; it is for pictures, which have none.
PAIRS = [
    *((method, "logistic") for method in METHODS),
    *(("caa", gate) for gate, kind in GATES.items() if kind.unit in ("position", "none") and not kind.sees_places),
]
LAYERS = (0, 2)


@pytest.fixture(scope="module")
def language_model():
    return tiny_language_model()


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def fitted(language_model, request):
    """Layer → method and gate."""
    found = {}
    for layer in LAYERS:
        tokens = {
            name: tokens_of(*language_model, texts, layer)
            for name, texts in (("source", SOURCE), ("target", TARGET), ("control", CONTROL))
        }
        samples = {
            name: Samples(
                torch.stack([one.mean(0) for one in each]),
                torch.arange(len(each)),
                torch.stack([place for one in each for place in one[:2]]),
            )
            for name, each in tokens.items()
        }
        method, gate = METHODS[request.param[0]]().reset(WIDTH), GATES[request.param[1]]().reset(WIDTH)
        method.fit(samples["source"].pooled, samples["target"].pooled)
        gate.fit(samples["source"], samples["control"])
        found[layer] = method, gate
    return found


@contextmanager
def steered(model, fitted, strength: float):
    def hook(method, gate):
        return lambda module, args, output: steer(output, method(output), strength * gate(output))

    handles = [model.model.layers[layer].register_forward_hook(hook(*pair)) for layer, pair in fitted.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def logits(language_model, texts: list[str]) -> list[torch.Tensor]:
    """What follows each text's words, padding left out."""
    model, tokenizer = language_model
    inputs = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
    with torch.no_grad():
        found = model(**inputs).logits
    return [row[mask.bool()] for row, mask in zip(found, inputs["attention_mask"], strict=True)]


def test_zero_strength_is_bit_exact_and_more_is_not(language_model, fitted):
    plain = logits(language_model, SOURCE)
    with steered(language_model[0], fitted, 0.0):
        assert all(map(torch.equal, logits(language_model, SOURCE), plain))
    with steered(language_model[0], fitted, 1.0):
        changed = logits(language_model, SOURCE)
    assert any(not torch.allclose(one, two, atol=1e-4) for one, two in zip(changed, plain, strict=True))
    assert all(map(torch.equal, logits(language_model, SOURCE), plain))


def test_neither_batch_nor_padding_matters(language_model, fitted):
    texts = ["rude fool", "the fool is rude today", "you are a silly tree"]
    with steered(language_model[0], fitted, 1.0):
        together = logits(language_model, texts)
        apart = [logits(language_model, [text])[0] for text in texts]
    for one, two in zip(together, apart, strict=True):
        assert torch.allclose(one, two, atol=1e-3)


def test_tensors_and_settings_are_all_there_is(language_model, fitted):
    again = {
        layer: tuple(type(part)(**settings_of(part)).reset(WIDTH) for part in parts) for layer, parts in fitted.items()
    }
    for layer, parts in again.items():
        for part, learned in zip(parts, fitted[layer], strict=True):
            part.load_state_dict(learned.state_dict())
    found = []
    for each in (fitted, again):
        with steered(language_model[0], each, 1.5):
            found.append(logits(language_model, SOURCE))
    assert all(map(torch.equal, *found))
