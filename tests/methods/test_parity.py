"""CAA against the steering-vectors package, on the same tiny language model."""

import pytest
import torch
from steering_vectors import train_steering_vector
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dsas_diffusion.methods.base import METHODS

WORDS = [
    "a",
    "the",
    "is",
    "kind",
    "rude",
    "you",
    "are",
    "very",
    "nice",
    "fool",
    "friend",
    "today",
    "tree",
    "it",
    "<pad>",
]
SOURCE = ["you are a fool", "it is very rude", "the fool is rude today", "rude fool", "you are very rude"]
TARGET = ["you are a friend", "it is very kind", "the friend is kind today", "kind friend", "you are very nice"]
LAYERS = [0, 2]


@pytest.fixture(scope="module")
def language_model():
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")
    tokenizer.padding_side = "left"
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=len(WORDS) - 1,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval(), tokenizer


def last_tokens(model, tokenizer, texts: list[str], layer: int) -> torch.Tensor:
    """The last token's activation behind a block, text by text."""
    seen = []
    handle = model.model.layers[layer].register_forward_hook(lambda module, args, output: seen.append(output[0, -1]))
    with torch.no_grad():
        for text in texts:
            model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
    handle.remove()
    return torch.stack(seen)


def test_caa_is_what_the_package_trains(language_model):
    model, tokenizer = language_model
    pairs = list(zip(TARGET, SOURCE, strict=True))  # it steers towards the first of each
    vector = train_steering_vector(model, tokenizer, pairs, layers=LAYERS, read_token_index=-1)
    for layer in LAYERS:
        source, target = (last_tokens(model, tokenizer, texts, layer) for texts in (SOURCE, TARGET))
        method = METHODS["caa"]().reset(24).fit(source, target)
        assert method.shift.norm() > 0.05
        assert torch.allclose(method.shift, vector.layer_activations[layer], atol=1e-6)


def test_both_steer_to_the_same_words(language_model):
    model, tokenizer = language_model
    layer = LAYERS[1]
    pairs = list(zip(TARGET, SOURCE, strict=True))
    vector = train_steering_vector(model, tokenizer, pairs, layers=[layer], read_token_index=-1)
    source, target = (last_tokens(model, tokenizer, texts, layer) for texts in (SOURCE, TARGET))
    method = METHODS["caa"]().reset(24).fit(source, target)
    inputs = tokenizer("you are very", return_tensors="pt", return_token_type_ids=False)

    def steered(module, args, output):
        return torch.lerp(output, method(output), 1.5)

    with torch.no_grad():
        plain = model(**inputs).logits
        with vector.apply(model, multiplier=1.5):
            theirs = model(**inputs).logits
        handle = model.model.layers[layer].register_forward_hook(steered)
        ours = model(**inputs).logits
        handle.remove()
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-3)
