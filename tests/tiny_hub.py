"""Repositories of the hub that the documentation names, as tiny pipelines of their classes in a cache folder."""

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import FluxPipeline
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM
from zoo import FAMILIES, autoencoders, text

COMMIT = "0" * 40


def _flux(folder: Path) -> None:
    """With an autoencoder that makes as much of a picture into one token as the real one does."""
    parts = {**FAMILIES["flux_distilled"].build().components, "vae": autoencoders.kl(4).eval()}
    FluxPipeline(**parts).save_pretrained(folder)


def _qwen(folder: Path) -> None:
    sizes = {**text.DECODER_SIZES, "tie_word_embeddings": True}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = text.distinct(Qwen2ForCausalLM(Qwen2Config(**sizes)))
    model.generation_config = GenerationConfig(eos_token_id=0, pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer = text.qwen_tokenizer()
    tokenizer.model_max_length = sizes["max_position_embeddings"]
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)


REPOSITORIES: dict[str, Callable[[Path], object]] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": lambda folder: FAMILIES["sd"].build().save_pretrained(folder),
    "stabilityai/stable-diffusion-xl-base-1.0": lambda folder: FAMILIES["sdxl"].build().save_pretrained(folder),
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
