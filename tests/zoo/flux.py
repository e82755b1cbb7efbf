"""The Flux families: two models, with guidance and without, from noise and from pictures."""

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)

from . import autoencoders, text
from .family import NO_GUIDANCE, TWO_CALLS, family

HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
CALL = {"num_inference_steps": 2, "max_sequence_length": text.LENGTH, "height": 24, "width": 16}
PAIRS = {"transformer_blocks.0": "(text, image)", "transformer_blocks.0.attn": "(image, text)"}
TRUE_GUIDED = {
    "generation": {**CALL, "true_cfg_scale": 4.0, "negative_prompt": "bad"},
    "unguided": {"true_cfg_scale": 1.0, "negative_prompt": None},
    "calls": TWO_CALLS,
    "grid": (6, 4),
}
FLUX = {
    "tokens": "x_embedder",
    "sites": {
        **PAIRS,
        "single_transformer_blocks.0": "(text, image)",
        "single_transformer_blocks.0.attn": "text image",
    },
}
FLUX_FROM_PICTURE = {
    **TRUE_GUIDED,
    **FLUX,
    "generation": {**TRUE_GUIDED["generation"], "num_inference_steps": 4, "strength": 0.5},
}


@family(**TRUE_GUIDED, **FLUX)
def flux() -> FluxPipeline:
    return FluxPipeline(**_flux_parts())


@family(generation={**CALL, "guidance_scale": 4.0}, unguided={}, calls=NO_GUIDANCE, grid=(6, 4), **FLUX)
def flux_distilled() -> FluxPipeline:
    """As it is mostly used: the guidance scale is an input of the transformer, and nothing is unconditional."""
    return FluxPipeline(**_flux_parts(guidance_embeds=True))


@family(**FLUX_FROM_PICTURE, pictures=("image",))
def flux_img2img() -> FluxImg2ImgPipeline:
    return FluxImg2ImgPipeline(**_flux_parts())


@family(**FLUX_FROM_PICTURE, pictures=("image", "mask_image"))
def flux_inpaint() -> FluxInpaintPipeline:
    return FluxInpaintPipeline(**_flux_parts())


@family(
    generation={**CALL, "guidance_scale": 4.0, "text_encoder_out_layers": (1, 2, 3)},
    unguided={"guidance_scale": 1.0},
    calls=TWO_CALLS,
    grid=(6, 4),
    tokens="x_embedder",
    sites={
        **PAIRS,
        "single_transformer_blocks.0": "text image",
        "single_transformer_blocks.0.attn": "text image",
    },
)
def flux2() -> Flux2KleinPipeline:
    """Klein's pipeline, which has Flux 2's transformer, a common text encoder and guidance."""
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=3 * text.WIDTH,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
        **HEADS,
    )
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoders.flux2(),
        text_encoder=text.qwen3(head=True, layers=3),
        tokenizer=text.qwen_tokenizer(),
        transformer=transformer,
    )


def _flux_parts(guidance_embeds: bool = False) -> dict[str, object]:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        joint_attention_dim=text.WIDTH,
        pooled_projection_dim=text.WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
        **HEADS,
    )
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "vae": autoencoders.kl(),
        "text_encoder": text.clip(),
        "tokenizer": text.clip_tokenizer(),
        "text_encoder_2": text.t5(),
        "tokenizer_2": text.t5_tokenizer(),
        "transformer": transformer,
    }
