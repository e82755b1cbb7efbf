"""Orchard's CLIP tokenizer: one token for each word of the grammar, letters for everything else."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError
from ..files import atomic_folder
from .grammar import words

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
    from transformers import CLIPTokenizer

    merges = _merges([word for word in words() if len(word) > 1])
    pieces = [START, END, *_LETTERS, *(letter + "</w>" for letter in _LETTERS), *("".join(pair) for pair in merges)]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)  # ty: ignore[invalid-argument-type]


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges until every word is one piece: the commonest pair first, by the alphabet among equals.

    The `tokenizers` library breaks ties by the order of a hash table, which is another in every process.
    """
    split = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while counts := Counter(pair for pieces in split for pair in pairwise(pieces)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        split = [_merged(pieces, best) for pieces in split]
    return merges


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    done: list[str] = []
    for piece in pieces:
        if done and (done[-1], piece) == pair:
            done[-1] += piece
        else:
            done.append(piece)
    return done


def tokenizer_of_run(folder: Path, known: CLIPTokenizer | None = None) -> CLIPTokenizer:
    """Give a training run's own tokenizer: built at its start and kept beside its checkpoints.

    A checkpoint is worth nothing with other token ids than those that it was trained on.

    Args:
        folder: The run's folder.
        known: The tokenizer of the weights that a new run begins with; ``None`` where it begins from nothing.

    Raises:
        InputError: If the folder holds checkpoints but no tokenizer.
    """
    from transformers import CLIPTokenizer

    kept = folder / "tokenizer"
    if kept.is_dir():
        return CLIPTokenizer.from_pretrained(kept)
    if known is None and any(folder.rglob("state.pt")):
        raise InputError(
            f"{folder} holds checkpoints, but not the tokenizer that they were trained with ({kept} is missing). "
            "Put it back, or train again into another folder."
        )
    tokenizer = known or build_tokenizer()
    with atomic_folder(kept) as partial:
        tokenizer.save_pretrained(partial)
    return tokenizer
