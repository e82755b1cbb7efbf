"""Trains Orchard's Stable Diffusion pipeline: text encoder, autoencoder and U-Net, one after the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from ...files import atomic_folder
from ..pipeline import load_pipeline
from ..tokenizer import tokenizer_of_run
from ..world import LOOKS, SEEDS
from . import text_encoder
from .autoencoder import LATENT_CHANNELS, build_autoencoder, encode, train_decoder
from .data import SceneBatch, as_tensor, render_many
from .loop import Trainer, checkpoints, training_folder

#: Share of captions replaced by the empty one, for classifier-free guidance.
CAPTION_DROPOUT: Final = 0.1
#: How much oftener than their share pairs and sketches are trained on, since they are learned last.
PAIR_WEIGHT: Final = 2.0
SKETCH_WEIGHT: Final = 1.5


def build_unet() -> UNet2DConditionModel:
    """Orchard's denoiser with random weights: 5.3 M parameters, cross-attention at 8×8 and 4×4."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        cross_attention_dim=text_encoder.WIDTH,
        attention_head_dim=(2, 3, 4),
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """v-prediction on a cosine schedule that ends in pure noise (zero terminal SNR, arXiv 2305.08891)."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def train(
    out: str = "outputs/orchard/unet",
    steps: int = 5600,
    decoder_steps: int = 2700,
    text_steps: int = 2000,
    batch_size: int = 64,
    scenes: int = 100_000,
    learning_rate: float = 2e-3,
    device: str = "cpu",
    fast: bool = False,
    resume: bool = False,
) -> None:
    """Train the U-Net pipeline from nothing.

    Args:
        out: Folder for checkpoints, and for the finished pipeline under ``pipeline/``.
        steps: Optimiser steps of the U-Net.
        decoder_steps: Optimiser steps of the autoencoder's decoder.
        text_steps: Optimiser steps of the text encoder.
        batch_size: Scenes a step of the U-Net.
        scenes: How many scenes to draw and train on.
        learning_rate: Highest learning rate of the U-Net.
        device: Where to train, ``cpu`` or ``cuda``.
        fast: Compile the U-Net and multiply in bfloat16: takes minutes to begin, and pays on a device with bfloat16
            units.
        resume: Go on from the checkpoints in the folder; where there are none, from the committed weights, whose text
            encoder and autoencoder stay as they are.

    Raises:
        InputError: If the folder holds another run, the device is missing, or there is nothing to resume.
    """
    folder = training_folder(out, device, resume)
    committed = _committed(folder, resume)
    torch.manual_seed(0)
    start = SEEDS["generator-train"].start
    data = render_many(range(start, start + scenes), "scenes", folder / "cache")
    tokenizer = tokenizer_of_run(folder, committed.tokenizer if committed else None)
    if committed:
        encoder, vae = committed.text_encoder, committed.vae
    else:
        encoder = text_encoder.train_text_encoder(tokenizer, folder / "text_encoder", text_steps)
        torch.manual_seed(1)
        vae = build_autoencoder(as_tensor(data.images[:4000]))
        train_decoder(vae, data.images, folder / "decoder", decoder_steps)
    latents = torch.cat([encode(vae, as_tensor(data.images[i : i + 1000])).half() for i in range(0, scenes, 1000)])
    torch.manual_seed(2)
    unet = train_unet(latents, text_encoder.tokenize(tokenizer, data.captions), encoder, tokenizer, folder / "unet",
                      steps=steps, batch_size=batch_size, learning_rate=learning_rate, device=device, fast=fast,
                      row_weights=weights_of_rows(data),
                      weights=committed.unet.state_dict() if committed else None)  # fmt: skip
    save_pipeline(assemble(vae, encoder, tokenizer, unet), folder / "pipeline")
    print(f"wrote {folder / 'pipeline'}")


def weights_of_rows(data: SceneBatch) -> torch.Tensor:
    """How often each scene is trained on."""
    pairs, sketches = data.labels.sum(1) == 2, data.looks == LOOKS.index("sketch")
    return torch.from_numpy(np.where(pairs, PAIR_WEIGHT, 1.0) * np.where(sketches, SKETCH_WEIGHT, 1.0))


def _committed(folder: Path, resume: bool) -> StableDiffusionPipeline | None:
    """The committed pipeline, where the run goes on from it; kept in the run's folder, for it may change meanwhile."""
    kept = folder / "committed"
    if kept.is_dir():
        return load_pipeline(folder=kept)
    if not resume or checkpoints(folder):
        return None
    pipe = load_pipeline()
    save_pipeline(pipe, kept)
    return pipe


def train_unet(
    latents: torch.Tensor,
    ids: torch.Tensor,
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    device: str,
    fast: bool = False,
    row_weights: torch.Tensor | None = None,
    weights: dict[str, torch.Tensor] | None = None,
) -> UNet2DConditionModel:
    """Train the denoiser on stored latents, the text encoder frozen.

    Args:
        latents: (n, 8, 16, 16) float16.
        ids: (n, 32) token ids of the captions.
        encoder: The finished text encoder.
        tokenizer: For the empty caption.
        folder: Where the checkpoint is kept.
        steps: Optimiser steps.
        batch_size: Scenes a step.
        learning_rate: Highest learning rate.
        device: ``cpu`` or ``cuda``.
        fast: Compile, and multiply in bfloat16.
        row_weights: (n,) how often each scene is drawn, in any unit; ``None`` for all alike.
        weights: The denoiser's weights to begin with; ``None`` for random ones.

    Returns:
        The denoiser with averaged weights.
    """
    unet = build_unet()
    if weights is not None:
        unet.load_state_dict(weights)
    unet = unet.to(device=device, memory_format=torch.channels_last)
    encoder = encoder.to(device)
    blank = text_encoder.tokenize(tokenizer, [""])[0]
    signal = build_scheduler().alphas_cumprod.to(device)
    trainer = Trainer(unet, folder, steps, learning_rate)
    trainer.resume()
    denoiser = torch.compile(unet) if fast else unet
    chances = torch.ones(len(latents)) if row_weights is None else row_weights
    upper = chances.double().cumsum(0) / chances.double().sum()

    def loss(generator: torch.Generator) -> torch.Tensor:
        drawn = torch.rand(batch_size, generator=generator, dtype=torch.float64)
        rows = torch.searchsorted(upper, drawn, right=True).clamp(max=len(latents) - 1)
        dropped = torch.rand(batch_size, generator=generator) < CAPTION_DROPOUT
        spread = (torch.arange(batch_size) + torch.rand(batch_size, generator=generator)) / batch_size
        timesteps = (spread * len(signal)).long().clamp(max=len(signal) - 1).to(device)
        clean = latents[rows].float().to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        with torch.no_grad():
            states = encoder(input_ids=torch.where(dropped[:, None], blank, ids[rows]).to(device)).last_hidden_state
        a, b = signal[timesteps].sqrt().view(-1, 1, 1, 1), (1 - signal[timesteps]).sqrt().view(-1, 1, 1, 1)
        noisy = (a * clean + b * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast):
            predicted = denoiser(noisy, timesteps, states, return_dict=False)[0]
        return (predicted.float() - (a * noise - b * clean)).square().mean()

    trainer.run(loss, batch_size, "unet")
    with trainer.averaged():
        kept = {key: value.cpu().clone() for key, value in unet.state_dict().items()}
    finished = build_unet()
    finished.load_state_dict(kept)
    return finished.eval()


def assemble(
    vae: AutoencoderTiny, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """Put the parts into a standard pipeline."""
    return StableDiffusionPipeline(
        vae=vae,  # ty: ignore[invalid-argument-type] - annotated with AutoencoderKL, runs AutoencoderTiny as well
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),  # ty: ignore[invalid-argument-type] - annotated with an enumeration
        safety_checker=None,  # ty: ignore[invalid-argument-type]
        feature_extractor=None,  # ty: ignore[invalid-argument-type]
        requires_safety_checker=False,
    )


def save_pipeline(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """Write the pipeline's folder whole, in half precision."""
    with atomic_folder(folder, overwrite=True) as partial:
        pipe.to(dtype=torch.float16).save_pretrained(partial)
        # AutoencoderTiny writes the first entry itself, and warns of it as unknown whenever it is loaded; the second is
        # the folder on this machine that it came from.
        unwanted = ("block_out_channels", "_name_or_path")
        config = partial / "vae" / "config.json"
        known = {key: value for key, value in json.loads(config.read_text()).items() if key not in unwanted}
        config.write_text(json.dumps(known, indent=2) + "\n")
    pipe.to(dtype=torch.float32)
