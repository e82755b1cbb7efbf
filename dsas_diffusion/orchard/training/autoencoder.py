"""The pipelines' autoencoder: a principal-component encoder written into AutoencoderTiny, and a trained decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import nn
from torch.nn import functional as F

from .data import as_tensor
from .loop import Trainer

LATENT_CHANNELS = 8
PATCH = 4
#: How far the components' scales are evened out: 0 leaves their variances, 1 makes them equal.
WHITENING = 0.5
#: Keeps latents well inside the decoder's own 3·tanh(z / 3).
SCALING_FACTOR = 2.0


def build_autoencoder(images: torch.Tensor) -> AutoencoderTiny:
    """Write a linear encoder of 4×4 patches into an :class:`AutoencoderTiny`, without any training.

    Two strided convolutions sort the pixels of a patch into channels, and the last convolution projects them on the
    first principal components. The decoder keeps its random weights.

    Args:
        images: (n, 3, 64, 64) in [-1, 1], whose patches give the components.

    Returns:
        An autoencoder whose scaled latents (n, 8, 16, 16) have a standard deviation of about 1.
    """
    vae = AutoencoderTiny(
        encoder_block_out_channels=(48, 48, 48),
        decoder_block_out_channels=(32, 32, 32),
        num_encoder_blocks=(0, 0, 0),
        num_decoder_blocks=(3, 3, 1),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=SCALING_FACTOR,
    )
    patches = F.pixel_unshuffle((images + 1) / 2, PATCH).permute(0, 2, 3, 1).reshape(-1, 3 * PATCH * PATCH).double()
    mean = patches.mean(0)
    centred = patches - mean
    variances, components = torch.linalg.eigh(centred.T @ centred / len(centred))
    variances, components = variances.flip(0)[:LATENT_CHANNELS], components.flip(1)[:, :LATENT_CHANNELS]
    scales = variances.pow(-WHITENING / 2)
    scales /= (variances * scales.square()).mean().sqrt()
    projection = (components * scales).T / SCALING_FACTOR  # (latent channels, 48)
    convolutions = [layer for layer in vae.encoder.layers if isinstance(layer, nn.Conv2d)]
    first, halve, halve_again, project = convolutions
    # Channel ((c, a, b), p, q) of the second halving holds colour c of the patch's pixel (2p + a, 2q + b).
    order = [
        c * PATCH * PATCH + (2 * p + a) * PATCH + (2 * q + b)
        for c in range(3)
        for a in range(2)
        for b in range(2)
        for p in range(2)
        for q in range(2)
    ]
    with torch.no_grad():
        for convolution in convolutions:
            convolution.weight.zero_()
            if convolution.bias is not None:
                convolution.bias.zero_()
        for c in range(3):
            first.weight[c, c, 1, 1] = 1
        for convolution, channels in ((halve, 3), (halve_again, 12)):
            for c in range(channels):
                for a in range(2):
                    for b in range(2):
                        convolution.weight[c * 4 + a * 2 + b, c, 1 + a, 1 + b] = 1
        weight = torch.zeros_like(project.weight)
        weight[:, :, 1, 1] = projection[:, order].float()
        project.load_state_dict({"weight": weight, "bias": -(projection @ mean).float()})
    return vae.eval()


@torch.no_grad()
def encode(vae: AutoencoderTiny, images: torch.Tensor) -> torch.Tensor:
    """Scaled latents (n, 8, 16, 16) of images (n, 3, 64, 64) in [-1, 1]."""
    return vae.encode(images).latents * SCALING_FACTOR


def train_decoder(
    vae: AutoencoderTiny, images: np.ndarray, folder: Path, steps: int, batch_size: int = 32
) -> AutoencoderTiny:
    """Train the decoder to draw the images back from their latents.

    The loss is the mean absolute error plus that of the differences between neighbouring pixels, which keeps edges
    crisp; latents carry a little noise, as those of a generator do.

    Args:
        vae: From :func:`build_autoencoder`; its encoder stays as it is.
        images: (n, 64, 64, 3) uint8.
        folder: Where the checkpoint is kept.
        steps: Optimiser steps.
        batch_size: Images a step.

    Returns:
        The same autoencoder with the decoder's averaged weights.
    """
    decoder = vae.decoder.to(memory_format=torch.channels_last)
    trainer = Trainer(decoder, folder, steps, 2e-3, ema=0.995, decay=0.6, weight_decay=0.0)
    trainer.resume()

    def loss(generator: torch.Generator) -> torch.Tensor:
        rows = torch.randint(0, len(images), (batch_size,), generator=generator).numpy()
        wanted = as_tensor(images[rows])
        latents = encode(vae, wanted) / SCALING_FACTOR
        noise = (
            torch.randn(latents.shape, generator=generator)
            * torch.rand(batch_size, 1, 1, 1, generator=generator)
            * 0.03
        )
        drawn = decoder((latents + noise).contiguous(memory_format=torch.channels_last))
        edges = sum((drawn.diff(dim=d) - wanted.diff(dim=d)).abs().mean() for d in (2, 3))
        return (drawn - wanted).abs().mean() + (drawn - wanted).square().mean() + 0.5 * edges

    trainer.run(loss, batch_size, "decoder")
    with trainer.averaged():
        kept = {k: v.clone() for k, v in decoder.state_dict().items()}
    decoder.load_state_dict(kept)
    return vae.eval()
