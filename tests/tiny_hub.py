"""Repositories of the hub that the documentation names, as tiny pipelines of their classes in a cache folder.

Weights are random, but for one thing: the text encoders read whole words, and tell those of bananas from all others.
Else no site of a pipeline could be trusted to know its concept, and `fit` would rightly refuse.
"""

import string
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GenerationConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from zoo import FAMILIES, autoencoders, text

from dsas_diffusion.orchard.tokenizer import END, START, _merges
from dsas_diffusion.prompts import load_prompts

COMMIT = "0" * 40
#: How far the words of a concept lie from others, in standard deviations of the embeddings.
APART = 3.0


def _words(group: str) -> set[str]:
    return {word.strip(string.punctuation) for said in load_prompts("banana").texts(group) for word in said.split()}


def _tokenizer() -> CLIPTokenizer:
    """Reads every word of the set as one token, other words letter by letter."""
    known = sorted(word.lower() for group in ("source", "target", "control") for word in _words(group) if len(word) > 1)
    letters = sorted({*string.ascii_lowercase, *string.digits, *string.punctuation, *"".join(known)})
    merges = _merges(known)
    pieces = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=text.LENGTH)


def _encoder(kind: type[CLIPTextModel], tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=text.WIDTH,
        intermediate_size=48,
        projection_dim=text.WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=text.LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    encoder = text.distinct(kind(config)).eval()
    vectors = encoder.get_input_embeddings().weight
    concept = [tokenizer.get_vocab()[f"{word.lower()}</w>"] for word in _of_the_concept()]
    with torch.no_grad():
        vectors[concept] += APART * vectors.std() * torch.randn(text.WIDTH).sign()
    return encoder


def _of_the_concept() -> set[str]:
    """Words that source prompts have and no others."""
    return _words("source") - _words("target") - _words("control")


def _parts(family: str) -> dict[str, object]:
    """The components of a tiny pipeline, with CLIPs that know bananas."""
    tokenizer, parts = _tokenizer(), dict(FAMILIES[family].build().components)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for place, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)):
            if isinstance(parts.get(place), CLIPTextModel | CLIPTextModelWithProjection):
                parts[place] = _encoder(kind, tokenizer)
                parts[place.replace("text_encoder", "tokenizer")] = tokenizer
    return parts


def _sd(folder: Path) -> None:
    StableDiffusionPipeline(**_parts("sd"), requires_safety_checker=False).save_pretrained(folder)


def _sdxl(folder: Path) -> None:
    StableDiffusionXLPipeline(**_parts("sdxl"), add_watermarker=False).save_pretrained(folder)


def _flux(folder: Path) -> None:
    """With an autoencoder that makes as much of a picture into one token as the real one does."""
    FluxPipeline(**{**_parts("flux_distilled"), "vae": autoencoders.kl(4).eval()}).save_pretrained(folder)


def _qwen(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = text.distinct(Qwen2ForCausalLM(Qwen2Config(**text.DECODER_SIZES, tie_word_embeddings=True)))
    model.generation_config = GenerationConfig(eos_token_id=0, pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer = text.qwen_tokenizer()
    tokenizer.model_max_length = text.DECODER_SIZES["max_position_embeddings"]
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)


REPOSITORIES: dict[str, Callable[[Path], None]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _sd,
    "stabilityai/stable-diffusion-xl-base-1.0": _sdxl,
    "black-forest-labs/FLUX.1-dev": _flux,
    "Qwen/Qwen2.5-1.5B": _qwen,
}


def fill(home: Path) -> None:
    """Write every repository into what HF_HOME names, as if it had been fetched there.

    Args:
        home: The folder.
    """
    for name, save in REPOSITORIES.items():
        place = home / "hub" / f"models--{name.replace('/', '--')}"
        save(place / "snapshots" / COMMIT)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(COMMIT)
