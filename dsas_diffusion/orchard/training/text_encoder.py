"""Teaches the pipelines' text encoder what a caption says, before any picture is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ..grammar import Caption, sample_prompts
from ..tokenizer import MAX_TOKENS
from ..world import GROUNDS, LOOKS, OBJECTS, PLACES
from .loop import Trainer

WIDTH = 128
Encoder = TypeVar("Encoder", CLIPTextModel, CLIPTextModelWithProjection)
_COLOURS = ("red", "green", "yellow", "purple", "white", "blue")


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A small CLIP text tower with random weights."""
    return _spread(CLIPTextModel(_config(tokenizer, WIDTH)))


def build_projecting_encoder(tokenizer: CLIPTokenizer, width: int) -> CLIPTextModelWithProjection:
    """The same with a projection of what is pooled, as Stable Diffusion 3 wants it.

    Args:
        tokenizer: Orchard's tokenizer.
        width: Of the hidden states and of the projection; a multiple of 4.
    """
    return _spread(CLIPTextModelWithProjection(_config(tokenizer, width)))


def _config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _spread(encoder: Encoder) -> Encoder:
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "embedding" in name:
                parameter.mul_(8)  # CLIP's own initial scale learns slowly at this width
    return encoder


def scene_vector(caption: Caption) -> list[float]:
    """What the caption's scene holds, as 0/1 answers; what the caption leaves unsaid is learned as a base rate."""
    spec = caption.spec
    answers: list[float] = []
    for name in OBJECTS:
        things = [thing for thing in spec.objects if thing.name == name]
        answers += [float(bool(things)), float(len(things) == 2), float(any(t.blurred for t in things))]
        answers += [float(any(t.place == place for t in things)) for place in PLACES]
        answers += [float(any(t.size == size for t in things)) for size in ("small", "big")]
        answers += [float(any(t.colour == colour for t in things)) for colour in _COLOURS]
    answers += [float(spec.ground == ground) for ground in GROUNDS] + [float(spec.look == look) for look in LOOKS]
    return answers


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """(n, 32) token ids, padded as the pipelines pad them."""
    return tokenizer(
        captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids


def train_text_encoder(
    build: Callable[[], Encoder], tokenizer: CLIPTokenizer, folder: Path, steps: int = 1500, batch_size: int = 256
) -> Encoder:
    """Train a text encoder to answer :func:`scene_vector` from its pooled output.

    Args:
        build: Gives one with random weights.
        tokenizer: Orchard's tokenizer.
        folder: Where the checkpoint is kept.
        steps: Optimiser steps.
        batch_size: Captions a step.

    Returns:
        The encoder with averaged weights, in evaluation mode.
    """
    torch.manual_seed(0)
    captions = sample_prompts(60_000, seed=random.Random("text encoder").randrange(2**31))
    ids = tokenize(tokenizer, [str(c) for c in captions])
    answers = torch.tensor([scene_vector(c) for c in captions])
    encoder = build()
    head = nn.Linear(encoder.config.hidden_size, answers.shape[1])
    trainer = Trainer(nn.ModuleList([encoder, head]), folder, steps, 1e-3, ema=0.99, decay=0.9)
    trainer.resume()

    def loss(generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(0, len(ids), (batch_size,), generator=generator)
        told = encoder(input_ids=ids[rows])
        pooled = told.text_embeds if isinstance(encoder, CLIPTextModelWithProjection) else told.pooler_output
        return nn.functional.binary_cross_entropy_with_logits(head(pooled), answers[rows]) * 100

    trainer.run(loss, batch_size, "text encoder")
    with trainer.averaged():
        finished = build()
        finished.load_state_dict(encoder.state_dict())
    return finished.eval()
