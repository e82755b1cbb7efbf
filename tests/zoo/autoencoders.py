"""Small autoencoders with random weights."""

from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLLTXVideo,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    VQModel,
)


def kl(levels: int = 2) -> AutoencoderKL:
    """The plain one; each level after the first halves height and width."""
    return AutoencoderKL(latent_channels=4, shift_factor=0.1, **_levels(levels))


def flux2() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(latent_channels=4, **_levels(2))


def movq() -> VQModel:
    """Kandinsky's, with four levels; its norms always have 32 groups."""
    return VQModel(latent_channels=4, num_vq_embeddings=8, norm_type="spatial", **_levels(4, width=32))


def _levels(count: int, width: int = 8) -> dict[str, object]:
    return {
        "down_block_types": ("DownEncoderBlock2D",) * count,
        "up_block_types": ("UpDecoderBlock2D",) * count,
        "block_out_channels": (width,) * count,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    }


def dc() -> AutoencoderDC:
    """Sana's, with four levels."""
    blocks = ("ResBlock",) * 3 + ("EfficientViTBlock",)
    scales = ((), (), (), (5,))
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=(8,) * 4,
        decoder_block_out_channels=(8,) * 4,
        encoder_layers_per_block=(1,) * 4,
        decoder_layers_per_block=(1,) * 4,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )


def qwen_image() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def wan() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def ltx() -> AutoencoderKLLTXVideo:
    """One in eight pixels each way, and one in four frames."""
    scaling = (True, True, False)
    return AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 3,
        layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatio_temporal_scaling=scaling,
        decoder_spatio_temporal_scaling=scaling,
        decoder_inject_noise=(False,) * 4,
        downsample_type=("conv",) * 3,
        upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3,
        patch_size=2,
    )
