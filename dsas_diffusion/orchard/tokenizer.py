"""Orchard's CLIP tokenizer: one token for each word of the grammar, letters for everything else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from dsas_diffusion.orchard.grammar import words

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

MAX_TOKENS: Final = 32
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789,.-'"
START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer() -> CLIPTokenizer:
    """Build the tokenizer of Orchard's pipelines in memory. The same grammar gives the same ids.

    Byte-pair merges are learned on the closed word list until every word is one token; an unknown word falls apart into
    the longest known pieces, at worst letters.

    Returns:
        A :class:`transformers.CLIPTokenizer` of at most 32 tokens a prompt.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        special_tokens=[START, END],
        initial_alphabet=list(_LETTERS),
        show_progress=False,
    )
    trained.train_from_iterator([word for word in words() if len(word) > 1], trainer)
    learned = json.loads(trained.to_str())["model"]
    vocab: dict[str, int] = learned["vocab"]
    for letter in _LETTERS:
        for piece in (letter, letter + "</w>"):
            vocab.setdefault(piece, len(vocab))
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split()) for pair in learned["merges"]]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)
