"""CAA against the steering-vectors package, on the same tiny language model."""

import pytest
import torch
from steering_vectors import train_steering_vector
from tiny_language import SOURCE, TARGET, WIDTH, tiny_language_model, tokens_of

from dsas_diffusion.methods.base import METHODS

PAIRS = list(zip(TARGET, SOURCE, strict=True))  # it steers towards the first of each


@pytest.fixture(scope="module")
def language_model():
    return tiny_language_model()


def caa_at(language_model, layer: int):
    source, target = (
        torch.stack([tokens[-1] for tokens in tokens_of(*language_model, texts, layer)]) for texts in (SOURCE, TARGET)
    )
    return METHODS["caa"]().reset(WIDTH).fit(source, target)


def test_caa_is_what_the_package_trains(language_model):
    vector = train_steering_vector(*language_model, PAIRS, layers=[0, 2], read_token_index=-1)
    for layer in (0, 2):
        method = caa_at(language_model, layer)
        assert method.shift.norm() > 0.1
        assert torch.allclose(method.shift, vector.layer_activations[layer], atol=1e-5)


def test_both_steer_to_the_same_words(language_model):
    model, tokenizer = language_model
    vector = train_steering_vector(model, tokenizer, PAIRS, layers=[1], read_token_index=-1)
    method = caa_at(language_model, 1)
    inputs = tokenizer("you are very", return_tensors="pt", return_token_type_ids=False)

    def steered(module, args, output):
        return torch.lerp(output, method(output), 1.5)

    with torch.no_grad():
        plain = model(**inputs).logits
        with vector.apply(model, multiplier=1.5):
            theirs = model(**inputs).logits
        handle = model.model.layers[1].register_forward_hook(steered)
        ours = model(**inputs).logits
        handle.remove()
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert not torch.allclose(ours, plain, atol=1e-2)
