"""Trains Orchard's language model on fresh texts of the grammar, none of them seen twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional as F

from ...errors import InputError
from ...files import atomic_folder
from ..language import load_language_model
from ..text.texts import sample_text
from ..text.tokenizer import MAX_TOKENS, build_language_tokenizer, save_tokenizer
from ..world import SEEDS
from .loop import Trainer, checkpoints, training_folder

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

#: How much more than another token an answer counts: it is one word in forty, and all that a question is about.
_ANSWER_WEIGHT: Final = 5.0
#: A batch is computed in this many parts of like length, so that little is spent on padding.
_PARTS: Final = 4


def train(
    out: str = "outputs/orchard/language",
    steps: int = 4500,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    device: str = "cpu",
    resume: bool = False,
) -> None:
    """Train the language model from nothing.

    Args:
        out: Folder for checkpoints, and for the finished model under `language/`.
        steps: Optimiser steps.
        batch_size: Texts a step.
        learning_rate: Highest learning rate.
        device: Where to train, `cpu` or `cuda`.
        resume: Go on from the checkpoint in the folder; where there is none, from the committed weights.

    Raises:
        InputError: If the folder holds another run, the device is missing, or there is nothing to resume.
    """
    if batch_size < _PARTS:
        raise InputError(f"batch_size must be at least {_PARTS}, but is {batch_size}.")
    folder = training_folder(out, device, resume)
    torch.manual_seed(0)
    if resume and not checkpoints(folder):
        model, tokenizer = load_language_model()
    else:
        tokenizer = build_language_tokenizer()
        model = build_language_model(tokenizer)
    trainer = Trainer(model.to(device), folder, steps, learning_rate, decay=0.6)
    trainer.resume()
    seeds = SEEDS["generator-train"]

    def loss(generator: torch.Generator) -> torch.Tensor:
        drawn = torch.randint(seeds.start, seeds.stop, (batch_size,), generator=generator).tolist()
        return language_loss(model, tokenizer, [sample_text(seed).text for seed in drawn])

    trainer.run(loss, batch_size, "language")
    finished = trainer.finished(lambda: build_language_model(tokenizer))
    save_language_model(finished, tokenizer, folder / "language")
    print(f"wrote {folder / 'language'}")


def build_language_model(tokenizer: PreTrainedTokenizerFast, width: int = 96, layers: int = 4) -> LlamaForCausalLM:
    """A small Llama with random weights.

    Args:
        tokenizer: Orchard's tokenizer for texts.
        width: Of the hidden states; a multiple of 8.
        layers: How many blocks.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=width**-0.5 / 2,
    )
    return LlamaForCausalLM(config)


def language_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> torch.Tensor:
    """−Σ w log p(token | tokens before) / Σ w over all tokens and the end, w above 1 on answers.

    Args:
        model: In training or evaluation mode.
        tokenizer: Its tokenizer.
        texts: At least as many as a batch has parts.
    """
    end, device = tokenizer.eos_token_id, model.device
    rows = sorted(([*ids, end] for ids in tokenizer(list(texts)).input_ids), key=len)
    answer, colon = (tokenizer.get_vocab()[word] for word in ("answer", ":"))
    size = -(-len(rows) // _PARTS)
    lost, weight = torch.zeros((), device=device), torch.zeros((), device=device)
    for part in (rows[start : start + size] for start in range(0, len(rows), size)):
        # Padding stands on the right here: a causal model reads it after everything that counts.
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in part], batch_first=True, padding_value=tokenizer.pad_token_id
        ).to(device)
        logits = model(input_ids=ids[:, :-1]).logits
        told = (ids[:, 1:] != tokenizer.pad_token_id).float()
        told[:, 1:] += (_ANSWER_WEIGHT - 1) * (ids[:, :-2].eq(answer) & ids[:, 1:-1].eq(colon))
        each = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        lost = lost + (each * told.flatten()).sum()
        weight = weight + told.sum()
    return lost / weight


def save_language_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a standard Transformers folder, in half precision.

    Args:
        model: The finished model; left as it is.
        tokenizer: Its tokenizer.
        folder: The folder, replaced if it is there.
    """
    from transformers import LlamaForCausalLM

    half = LlamaForCausalLM(model.config).half()
    half.load_state_dict(model.state_dict())
    with atomic_folder(folder, overwrite=True) as partial:
        half.save_pretrained(partial)
        save_tokenizer(tokenizer, partial)
