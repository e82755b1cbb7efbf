"""Families whose denoiser is a transformer, and which make pictures."""

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)

from . import autoencoders, text
from .family import CONDITIONAL_FIRST, TWO_CALLS, UNCONDITIONAL_FIRST, family

HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
SIZE = {"height": 24, "width": 16}
CALL = {"num_inference_steps": 2, "max_sequence_length": text.LENGTH, **SIZE}
GUIDED = {"generation": {**CALL, "guidance_scale": 4.0}, "unguided": {"guidance_scale": 1.0}, "grid": (6, 4)}
PAIRS = {"transformer_blocks.0": "(text, image)", "transformer_blocks.0.attn": "(image, text)"}
SINGLE = {"transformer_blocks.0": "tokens", "transformer_blocks.0.attn1": "tokens"}
SD3 = {
    "calls": UNCONDITIONAL_FIRST,
    "tokens": "pos_embed",
    "sites": {**PAIRS, "transformer_blocks.2": "(text, image)"},  # the last one's text is None
}


@family(**GUIDED, **SD3)
def sd3() -> StableDiffusion3Pipeline:
    """Without the large text encoder, which users often leave out."""
    return StableDiffusion3Pipeline(**_sd3_parts(), text_encoder_3=None, tokenizer_3=None)


@family(**GUIDED, **SD3)
def sd3_t5() -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline(**_sd3_parts(), text_encoder_3=text.t5(), tokenizer_3=text.t5_tokenizer())


@family(
    generation={**CALL, "guidance_scale": 4.0, "use_resolution_binning": False, "clean_caption": False},
    unguided={"guidance_scale": 1.0},
    calls=UNCONDITIONAL_FIRST,
    grid=(6, 4),
    tokens="pos_embed",
    sites=SINGLE,
)
def pixart_sigma() -> PixArtSigmaPipeline:
    transformer = PixArtTransformer2DModel(
        sample_size=12,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        patch_size=2,
        cross_attention_dim=32,
        caption_channels=text.WIDTH,
        **HEADS,
    )
    return PixArtSigmaPipeline(
        tokenizer=text.t5_tokenizer(),
        text_encoder=text.t5(),
        vae=autoencoders.kl(),
        transformer=transformer,
        scheduler=DDIMScheduler(clip_sample=False),
    )


@family(
    generation={
        **CALL,
        "guidance_scale": 4.0,
        "height": 64,
        "width": 32,
        "use_resolution_binning": False,
        "complex_human_instruction": None,
    },
    unguided={"guidance_scale": 1.0},
    calls=UNCONDITIONAL_FIRST,
    grid=(8, 4),
    tokens="patch_embed",
    sites=SINGLE,
)
def sana() -> SanaPipeline:
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=text.WIDTH,
        sample_size=8,
        patch_size=1,
        **HEADS,
    )
    return SanaPipeline(
        tokenizer=text.gemma_tokenizer(),
        text_encoder=text.gemma(),
        vae=autoencoders.dc(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


@family(
    generation={
        **CALL,
        "guidance_scale": 4.0,
        "height": 96,
        "width": 64,
        "system_prompt": "Draw",
        "max_sequence_length": 64,
    },
    unguided={"guidance_scale": 1.0},
    calls=TWO_CALLS,
    grid=(6, 4),
    tokens="x_embedder",
    sites={"noise_refiner.0": "tokens", "layers.0": "text image", "layers.0.attn": "text image"},
    ragged=True,
)
def lumina2() -> Lumina2Pipeline:
    """The pipeline takes for granted that the autoencoder's pictures are eight times as large as its latents."""
    transformer = Lumina2Transformer2DModel(
        sample_size=12,
        in_channels=4,
        hidden_size=32,
        num_layers=2,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        axes_dim_rope=(8, 4, 4),
        cap_feat_dim=text.WIDTH,
    )
    return Lumina2Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoders.kl(levels=4),
        text_encoder=text.gemma(),
        tokenizer=text.gemma_tokenizer(),
    )


@family(
    generation={**CALL, "true_cfg_scale": 4.0, "negative_prompt": "bad", "height": 48, "width": 32},
    unguided={"true_cfg_scale": 1.0, "negative_prompt": None},
    calls=TWO_CALLS,
    grid=(6, 4),
    tokens="img_in",
    sites=PAIRS,
)
def qwenimage() -> QwenImagePipeline:
    """With a shorter text around the prompt than the real one, which would be several hundred letters."""
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        joint_attention_dim=text.WIDTH,
        axes_dims_rope=(8, 4, 4),
        **HEADS,
    )
    pipe = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoders.qwen_image(),
        text_encoder=text.qwen_vl(),
        tokenizer=text.qwen_tokenizer(),
        transformer=transformer,
    )
    pipe.prompt_template_encode, pipe.prompt_template_encode_start_idx = "Draw {}<|im_end|>", len("Draw ")
    return pipe


@family(
    **{**GUIDED, "unguided": {"guidance_scale": 0.0}},
    calls=CONDITIONAL_FIRST,
    tokens="all_x_embedder.2-1",
    sites={"noise_refiner.0": "tokens", "layers.0": "image text", "layers.0.attention": "image text"},
    text="cap_feats",
)
def zimage() -> ZImagePipeline:
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=text.WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoders.kl(),
        text_encoder=text.qwen3(),
        tokenizer=text.qwen_tokenizer(),
        transformer=transformer,
    )


@family(
    **GUIDED,
    calls=UNCONDITIONAL_FIRST,
    tokens="pos_embed",
    sites={
        "joint_transformer_blocks.0": "(text, image)",
        "joint_transformer_blocks.0.attn": "(image, text)",
        "single_transformer_blocks.0": "text image",
        "single_transformer_blocks.0.attn": "text image",
    },
)
def auraflow() -> AuraFlowPipeline:
    transformer = AuraFlowTransformer2DModel(
        sample_size=12,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        joint_attention_dim=text.WIDTH,
        caption_projection_dim=32,
        pos_embed_max_size=64,
        **HEADS,
    )
    return AuraFlowPipeline(
        tokenizer=text.t5_tokenizer(),
        text_encoder=text.umt5(),
        vae=autoencoders.kl(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _sd3_parts() -> dict[str, object]:
    """The two short encoders' channels lie side by side, so each has half of the text's."""
    half = text.WIDTH // 2
    transformer = SD3Transformer2DModel(
        sample_size=12,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        joint_attention_dim=text.WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * half,
        pos_embed_max_size=24,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
        **HEADS,
    )
    return {
        "transformer": transformer,
        "scheduler": FlowMatchEulerDiscreteScheduler(),
        "vae": autoencoders.kl(),
        "text_encoder": text.clip(half, projection=True),
        "tokenizer": text.clip_tokenizer(),
        "text_encoder_2": text.clip(half, projection=True),
        "tokenizer_2": text.clip_tokenizer(),
        "image_encoder": None,
        "feature_extractor": None,
    }
