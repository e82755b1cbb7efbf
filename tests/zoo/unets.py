"""Families whose denoiser is a U-Net."""

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from . import autoencoders, text
from .family import UNCONDITIONAL_FIRST, family

SIZE = {"height": 24, "width": 16}
STABLE = {
    "generation": {"num_inference_steps": 2, "guidance_scale": 4.0, **SIZE},
    "unguided": {"guidance_scale": 1.0},
    "calls": UNCONDITIONAL_FIRST,
    "grid": (12, 8),
    "denoiser": "unet",
    "tokens": "conv_in",
    "sites": {
        "down_blocks.0.resnets.0": "plane",
        "down_blocks.1.attentions.0.transformer_blocks.0": "tokens",
        "up_blocks.1": "plane",
    },
    "coarser": {"down_blocks.1.attentions.0.transformer_blocks.0": (6, 4)},
}
FROM_PICTURE = {
    **STABLE,
    "generation": {"num_inference_steps": 4, "strength": 0.5, "guidance_scale": 4.0},
    "pictures": ("image",),
}
INPAINT = {
    **STABLE,
    "generation": {"num_inference_steps": 2, "strength": 1.0, "guidance_scale": 4.0, **SIZE},
    "pictures": ("image", "mask_image"),
}


@family(**STABLE)
def sd() -> StableDiffusionPipeline:
    return StableDiffusionPipeline(**_sd_parts())


@family(**FROM_PICTURE)
def sd_img2img() -> StableDiffusionImg2ImgPipeline:
    return StableDiffusionImg2ImgPipeline(**_sd_parts())


@family(**INPAINT)
def sd_inpaint() -> StableDiffusionInpaintPipeline:
    return StableDiffusionInpaintPipeline(**_sd_parts(in_channels=9))


@family(**STABLE)
def sdxl() -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(**_sdxl_parts())


@family(**FROM_PICTURE)
def sdxl_img2img() -> StableDiffusionXLImg2ImgPipeline:
    return StableDiffusionXLImg2ImgPipeline(**_sdxl_parts())


@family(**INPAINT)
def sdxl_inpaint() -> StableDiffusionXLInpaintPipeline:
    return StableDiffusionXLInpaintPipeline(**_sdxl_parts(in_channels=9))


@family(
    generation={"num_inference_steps": 2, "guidance_scale": 4.0, "height": 128, "width": 64},
    unguided={"guidance_scale": 1.0},
    calls=UNCONDITIONAL_FIRST,
    grid=(16, 8),
    denoiser="unet",
    tokens="conv_in",
    sites={"down_blocks.0.resnets_out.0": "plane", "down_blocks.1.attentions.0": "plane"},
    coarser={"down_blocks.1.attentions.0": (8, 4)},
)
def kandinsky3() -> Kandinsky3Pipeline:
    """The U-Net has four levels, as the real one must, so the latents are larger than elsewhere."""
    unet = Kandinsky3UNet(
        time_embedding_dim=32,
        groups=4,
        attention_head_dim=8,
        layers_per_block=2,
        block_out_channels=(16, 16, 32, 32),
        cross_attention_dim=text.WIDTH,
        encoder_hid_dim=text.WIDTH,
    )
    return Kandinsky3Pipeline(
        tokenizer=text.t5_tokenizer(),
        text_encoder=text.t5(),
        unet=unet,
        scheduler=DDPMScheduler(),
        movq=autoencoders.movq(),
    )


def _sd_parts(in_channels: int = 4) -> dict[str, object]:
    return {
        "vae": autoencoders.kl(),
        "text_encoder": text.clip(),
        "tokenizer": text.clip_tokenizer(),
        "unet": UNet2DConditionModel(**_unet_sizes(in_channels), cross_attention_dim=text.WIDTH, attention_head_dim=2),
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def _sdxl_parts(in_channels: int = 4) -> dict[str, object]:
    """The second text encoder's pooled text and the six sizes, eight channels each, go in beside the text."""
    unet = UNet2DConditionModel(
        **_unet_sizes(in_channels),
        cross_attention_dim=2 * text.WIDTH,
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=text.WIDTH + 6 * 8,
    )
    return {
        "vae": autoencoders.kl(),
        "text_encoder": text.clip(),
        "text_encoder_2": text.clip(projection=True),
        "tokenizer": text.clip_tokenizer(),
        "tokenizer_2": text.clip_tokenizer(),
        "unet": unet,
        "scheduler": DDIMScheduler(steps_offset=1, clip_sample=False),
        "add_watermarker": False,
    }


def _unet_sizes(in_channels: int) -> dict[str, object]:
    return {
        "sample_size": 12,
        "in_channels": in_channels,
        "out_channels": 4,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "norm_num_groups": 8,
    }
