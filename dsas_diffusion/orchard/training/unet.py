"""Trains Orchard's Stable Diffusion pipeline: text encoder, autoencoder and U-Net, one after the other."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from ..tokenizer import tokenizer_of_run
from ..world import SEEDS
from . import text_encoder
from .autoencoder import LATENT_CHANNELS, build_autoencoder, encode, train_decoder
from .data import as_tensor, render_many
from .denoising import Draws, committed_pipeline, save_pipeline, weights_of_rows
from .loop import Trainer, training_folder


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
    committed = committed_pipeline("unet", folder, resume)
    torch.manual_seed(0)
    start = SEEDS["generator-train"].start
    data = render_many(range(start, start + scenes), "scenes", folder / "cache")
    tokenizer = tokenizer_of_run(folder, committed.tokenizer if committed else None)
    if committed:
        encoder, vae = committed.text_encoder, committed.vae
    else:
        encoder = text_encoder.train_text_encoder(
            lambda: text_encoder.build_text_encoder(tokenizer), tokenizer, folder / "text_encoder", text_steps
        )
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
    draws = Draws(latents, ids, text_encoder.tokenize(tokenizer, [""])[0], batch_size, row_weights, device)
    signal = build_scheduler().alphas_cumprod.to(device)
    trainer = Trainer(unet, folder, steps, learning_rate)
    trainer.resume()
    denoiser = torch.compile(unet) if fast else unet

    def loss(generator: torch.Generator) -> torch.Tensor:
        drawn = draws(generator)
        timesteps = (drawn.spread * len(signal)).long().clamp(max=len(signal) - 1)
        clean, noise = drawn.latents, drawn.noise
        with torch.no_grad():
            states = encoder(input_ids=drawn.ids).last_hidden_state
        a, b = signal[timesteps].sqrt().view(-1, 1, 1, 1), (1 - signal[timesteps]).sqrt().view(-1, 1, 1, 1)
        noisy = (a * clean + b * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast):
            predicted = denoiser(noisy, timesteps, states, return_dict=False)[0]
        return (predicted.float() - (a * noise - b * clean)).square().mean()

    trainer.run(loss, batch_size, "unet")
    return trainer.finished(build_unet)


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
