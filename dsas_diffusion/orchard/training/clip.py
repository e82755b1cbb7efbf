"""Trains Orchard's CLIP with the contrastive loss and, for each picture, two captions that are nearly right."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from open_clip import CLIP
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from ...errors import InputError
from ..clip import CONFIG_FILE, WEIGHTS_FILE, clip_config, load_clip
from ..tokenizer import tokenizer_of_run
from ..weight_files import write_weights
from ..world import SEEDS
from .captions import render_captioned
from .data import as_tensor
from .loop import Trainer, checkpoints, training_folder
from .roundtrip import load_autoencoder, round_trip
from .text_encoder import tokenize

#: open_clip's own limit on the learned temperature.
_LARGEST_LOGIT_SCALE: Final = math.log(100)


def train(
    out: str = "outputs/orchard/clip",
    steps: int = 4000,
    batch_size: int = 128,
    scenes: int = 40_000,
    learning_rate: float = 1.5e-3,
    autoencoder: str | None = None,
    device: str = "cpu",
    resume: bool = False,
) -> None:
    """Train the CLIP from nothing.

    Args:
        out: Folder for checkpoints, and for the finished model under ``clip/``.
        steps: Optimiser steps.
        batch_size: Scenes a step, each with one of its captions and two wrong ones; a quarter of the pictures are sent
            through the autoencoder.
        scenes: How many scenes to draw and train on.
        learning_rate: Highest learning rate.
        autoencoder: Folder of the pipelines' autoencoder; by default the committed one; ``none`` trains on renders
            alone.
        device: Where to train, ``cpu`` or ``cuda``.
        resume: Go on from the checkpoint in the folder; where there is none, from the committed weights.

    Raises:
        InputError: If the folder holds another run, the autoencoder or the device is missing, or there is nothing to
            resume.
    """
    if batch_size < 4:
        raise InputError(f"batch_size must be at least 4, but is {batch_size}.")
    vae = load_autoencoder(autoencoder)
    folder = training_folder(out, device, resume)
    committed = load_clip() if resume and not checkpoints(folder) else None
    known = committed.tokenizer.tokenizer if committed else None
    tokenizer = tokenizer_of_run(folder, known)  # ty: ignore[invalid-argument-type] - open_clip wraps any kind
    config = clip_config(len(tokenizer), tokenizer.eos_token_id)
    torch.manual_seed(0)
    model = (committed.model if committed else build_clip(config)).to(device)
    start = SEEDS["clip-train"].start
    data = render_captioned(range(start, start + scenes))
    quarter = scenes // 4
    seen = (
        data.images
        if vae is None
        else np.concatenate([round_trip(vae, data.images[:quarter], device), data.images[quarter:]])
    )
    right, wrong = (_token_ids(tokenizer, texts) for texts in (data.captions, data.wrong))
    trainer = Trainer(model, folder, steps, learning_rate, ema=0.998, decay=0.7)
    trainer.resume()

    def loss(generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(0, len(seen), (batch_size,), generator=generator)
        which = torch.randint(0, right.shape[1], (batch_size,), generator=generator)
        which_wrong = torch.randint(0, wrong.shape[2], (batch_size,), generator=generator)
        images = as_tensor(seen[rows.numpy()]) + 0.03 * torch.randn(batch_size, 3, 1, 1, generator=generator)
        captions = torch.cat([right[rows, which], wrong[rows, 0, which_wrong], wrong[rows, 1, which_wrong]]).long()
        return contrastive_loss(model, images.clamp(-1, 1).to(device), captions.to(device))

    trainer.run(loss, batch_size, "clip")
    with trainer.averaged():
        model.logit_scale.data.clamp_(max=_LARGEST_LOGIT_SCALE)
        rows = torch.randperm(scenes, generator=torch.Generator().manual_seed(0))[:5120].numpy()
        update_bn(
            (as_tensor(seen[part]).to(device) for part in np.array_split(rows, max(1, len(rows) // 256))), model.visual
        )
        finished = {key: value.clone() for key, value in model.state_dict().items()}
    write_weights(folder / "clip", finished, {CONFIG_FILE: config}, WEIGHTS_FILE, also=tokenizer.save_pretrained)
    print(f"wrote {folder / 'clip'}")


def build_clip(config: dict) -> CLIP:
    """Build the model with random weights."""
    model = CLIP(**config["model_cfg"])
    with torch.no_grad():  # CLIP's own initial scales learn slowly at this width
        model.token_embedding.weight.mul_(8)
        model.positional_embedding.mul_(8)
    return model


def contrastive_loss(model: CLIP, images: torch.Tensor, captions: torch.Tensor) -> torch.Tensor:
    """Each picture must find its caption among the batch's and its own two wrong ones; each caption its picture.

    Two pictures of the batch with the same caption don't count against each other.

    Args:
        model: The model, with its learned temperature.
        images: (n, 3, 64, 64), preprocessed.
        captions: (3n, 32) token ids: the right ones, then the wrong ones of either kind.

    Returns:
        The mean of both cross-entropies.
    """
    n = len(images)
    pictures = model.encode_image(images, normalize=True)
    texts = encode_captions(model, captions)
    scale = model.logit_scale.clamp(max=_LARGEST_LOGIT_SCALE).exp()
    among_batch = scale * pictures @ texts[:n].T
    right = captions[:n]
    same = (right[:, None] == right[None]).all(-1) & ~torch.eye(n, dtype=torch.bool, device=right.device)
    among_batch = among_batch.masked_fill(same, float("-inf"))
    wrong = scale * (pictures * texts[n:].view(2, n, -1)).sum(-1).T
    wanted = torch.arange(n, device=images.device)
    return (F.cross_entropy(torch.cat([among_batch, wrong], 1), wanted) + F.cross_entropy(among_batch.T, wanted)) / 2


def encode_captions(model: CLIP, ids: torch.Tensor) -> torch.Tensor:
    """What ``model.encode_text(ids, normalize=True)`` returns, without computing the padding.

    The text tower looks only backwards, so what follows the last end token changes nothing.

    Args:
        model: The model.
        ids: (n, 32) token ids.

    Returns:
        (n, 128) unit vectors.
    """
    ends = (ids == model.text_eos_id).int().argmax(-1)
    length = int(ends.max()) + 1
    states = model.token_embedding(ids[:, :length]) + model.positional_embedding[:length]
    states = model.transformer(states, attn_mask=model.get_buffer("attn_mask")[:length, :length])
    pooled = model.ln_final(states[torch.arange(len(ids), device=ids.device), ends])
    return F.normalize(pooled @ model.text_projection, dim=-1)


def _token_ids(tokenizer, texts: np.ndarray) -> torch.Tensor:
    """Token ids (…, 32) as int16, of an array of texts."""
    unique, where = np.unique(texts, return_inverse=True)
    ids = tokenize(tokenizer, unique.tolist()).to(torch.int16)
    return ids[torch.from_numpy(where.reshape(texts.shape))]
