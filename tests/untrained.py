"""Orchard's pipelines with random weights, as its training commands put them together."""

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline, StableDiffusionPipeline

from dsas_diffusion.orchard.tokenizer import build_tokenizer
from dsas_diffusion.orchard.training import dit, unet
from dsas_diffusion.orchard.training.autoencoder import LATENT_CHANNELS, build_autoencoder
from dsas_diffusion.orchard.training.text_encoder import build_projecting_encoder, build_text_encoder


def untrained_unet(seed: int = 0) -> StableDiffusionPipeline:
    """The U-Net pipeline."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer, vae = build_tokenizer(), build_autoencoder(torch.rand(4, 3, 64, 64) * 2 - 1)
        return unet.assemble(vae, build_text_encoder(tokenizer).eval(), tokenizer, unet.build_unet().eval())


def untrained_dit(seed: int = 0, small: bool = False) -> StableDiffusion3Pipeline:
    """The DiT pipeline; a small one has one narrow block, for tests that take all 28 steps."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer, vae = build_tokenizer(), build_autoencoder(torch.rand(4, 3, 64, 64) * 2 - 1)
        encoders = [build_projecting_encoder(tokenizer, width).eval() for width in dit.TEXT_WIDTHS]
        transformer = small_transformer() if small else dit.build_transformer()
        return dit.assemble(vae, encoders, tokenizer, transformer.eval())


def small_transformer() -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=sum(dit.TEXT_WIDTHS),
        caption_projection_dim=16,
        pooled_projection_dim=sum(dit.TEXT_WIDTHS),
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
