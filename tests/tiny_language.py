"""A tiny language model of the real class with random weights, built in memory."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WIDTH = 24
WORDS = (
    *("a", "the", "is", "it", "you", "are", "very", "today", "tree"),
    *("kind", "nice", "friend", "rude", "fool", "silly", "<pad>"),
)
SOURCE = ["you are a fool", "it is very rude", "the fool is rude today", "rude fool", "you are very silly"]
TARGET = ["you are a friend", "it is very kind", "the friend is kind today", "kind friend", "you are very nice"]
CONTROL = ["the tree is a tree", "it is today", "a tree", "you are the tree today", "the tree is very a tree"]


def tiny_language_model() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A Llama of three blocks, in evaluation mode, and a tokenizer that knows sixteen words and pads on the left."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", padding_side="left")
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=len(WORDS) - 1,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval(), tokenizer


def tokens_of(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str], layer: int) -> list:
    """The activations behind a block, (tokens, channels) for each text."""
    seen = []
    handle = model.model.layers[layer].register_forward_hook(lambda module, args, output: seen.append(output[0]))
    with torch.no_grad():
        for text in texts:
            model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
    handle.remove()
    return seen
