"""Renders sent through the pipelines' autoencoder, so that a judge knows the look of generated pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from tqdm import tqdm

from ...errors import InputError
from ..weight_files import WEIGHTS, weights_folder
from .data import as_tensor

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

#: Largest standard deviation of the noise added to scaled latents, whose own is about 1.
LATENT_NOISE: Final = 0.12
_BATCH = 128


def load_autoencoder(option: str | None) -> AutoencoderTiny | None:
    """Load the autoencoder that a training command was given.

    Args:
        option: A folder that holds an :class:`~diffusers.AutoencoderTiny`, ``None`` for the committed pipeline's, or
            ``"none"`` to do without.

    Returns:
        The autoencoder in float32, or ``None`` for ``"none"``.

    Raises:
        InputError: If the folder is not there or its files are broken.
    """
    if option == "none":
        return None
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    folder = Path(option) if option else WEIGHTS / "unet" / "vae"
    if not folder.is_dir():
        raise InputError(
            f"autoencoder: {folder} is not a folder. Train the pipeline first (`dsas orchard train unet`) and give its "
            "`pipeline/vae`, or say `--autoencoder none` to train on renders alone."
        )
    weights_folder("unet", folder, ("config.json", "diffusion_pytorch_model.safetensors"))
    return AutoencoderTiny.from_pretrained(folder).float().eval().requires_grad_(False)


@torch.no_grad()
def round_trip(vae: AutoencoderTiny, images: np.ndarray, device: str = "cpu", seed: int = 0) -> np.ndarray:
    """Send images through the autoencoder, with a little noise on their latents.

    Args:
        vae: The autoencoder.
        images: (n, 64, 64, 3) uint8.
        device: Where it computes.
        seed: Of the noise, whose standard deviation is drawn for each image between 0 and ``LATENT_NOISE``.

    Returns:
        (n, 64, 64, 3) uint8.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = vae.config["scaling_factor"]
    vae.to(device)
    drawn = np.empty_like(images)
    for start in tqdm(range(0, len(images), _BATCH), desc="autoencoder", unit="batch"):
        latents = vae.encode(as_tensor(images[start : start + _BATCH]).to(device)).latents.cpu()
        spread = torch.rand(len(latents), 1, 1, 1, generator=generator) * LATENT_NOISE / scale
        noise = torch.randn(latents.shape, generator=generator) * spread
        decoded = vae.decode((latents + noise).to(device)).sample.cpu()
        pixels = decoded.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
        drawn[start : start + _BATCH] = pixels.permute(0, 2, 3, 1).numpy()
    return drawn
