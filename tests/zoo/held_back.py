"""Families kept for judging code that was written with the others at hand: nothing may be fitted to these."""

import warnings

from diffusers import (
    ChromaPipeline,
    ChromaTransformer2DModel,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
)

from . import autoencoders, text
from .family import TWO_CALLS, UNCONDITIONAL_FIRST, family

HEADS = {"num_attention_heads": 2, "attention_head_dim": 16}
CALL = {"num_inference_steps": 2, "guidance_scale": 4.0, "max_sequence_length": text.LENGTH}


@family(
    generation={**CALL, "height": 48, "width": 32},
    unguided={"guidance_scale": 1.0},
    calls=TWO_CALLS,
    grid=(6, 4),
    tokens="patch_embed.proj",
    sites={"transformer_blocks.0": "(image, text)", "transformer_blocks.0.attn1": "(image, text)"},
    held_back=True,
)
def cogview4() -> CogView4Pipeline:
    transformer = CogView4Transformer2DModel(
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        text_embed_dim=text.WIDTH,
        time_embed_dim=32,
        condition_dim=8,
        rope_axes_dim=(32, 32),
        **HEADS,
    )
    return CogView4Pipeline(
        tokenizer=text.glm_tokenizer(),
        text_encoder=text.glm(),
        vae=autoencoders.kl(levels=3),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(base_shift=0.25, max_shift=0.75, use_dynamic_shifting=True),
    )


@family(
    generation={**CALL, "height": 24, "width": 16},
    unguided={"guidance_scale": 1.0},
    calls=TWO_CALLS,
    grid=(6, 4),
    tokens="x_embedder",
    sites={
        "transformer_blocks.0": "(text, image)",
        "transformer_blocks.0.attn": "(image, text)",
        "single_transformer_blocks.0": "text image",
        "single_transformer_blocks.0.attn": "text image",
    },
    held_back=True,
)
def chroma() -> ChromaPipeline:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Diffusers warns of an import of its own
        transformer = ChromaTransformer2DModel(
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            joint_attention_dim=text.WIDTH,
            axes_dims_rope=(4, 6, 6),
            approximator_num_channels=32,
            approximator_hidden_dim=32,
            approximator_layers=1,
            **HEADS,
        )
    return ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoders.kl(),
        text_encoder=text.t5(),
        tokenizer=text.t5_tokenizer(),
        transformer=transformer,
    )


@family(
    generation={
        "num_inference_steps": 2,
        "guidance_scale": 4.0,
        "height": 96,
        "width": 64,
        "use_resolution_binning": False,
    },
    unguided={"guidance_scale": 1.0},
    calls=UNCONDITIONAL_FIRST,
    grid=(6, 4),
    tokens="pos_embed",
    sites={"blocks.0": "tokens", "blocks.0.attn1": "tokens"},
    held_back=True,
)
def hunyuandit() -> HunyuanDiTPipeline:
    """The pipeline fixes the lengths of its two texts, and pictures eight times as large as the latents."""
    transformer = HunyuanDiT2DModel(
        in_channels=4,
        patch_size=2,
        sample_size=12,
        hidden_size=32,
        num_layers=4,
        mlp_ratio=2.0,
        cross_attention_dim=text.WIDTH,
        cross_attention_dim_t5=text.WIDTH,
        pooled_projection_dim=text.WIDTH,
        text_len=77,
        text_len_t5=256,
        **HEADS,
    )
    return HunyuanDiTPipeline(
        vae=autoencoders.kl(levels=4),
        text_encoder=text.bert(),
        tokenizer=text.bert_tokenizer(),
        transformer=transformer,
        scheduler=DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=text.t5(),
        tokenizer_2=text.t5_tokenizer(),
    )


@family(
    generation={**CALL, "height": 24, "width": 16},
    unguided={"guidance_scale": 1.0},
    calls=UNCONDITIONAL_FIRST,
    grid=(6, 4),
    tokens="x_embedder",
    sites={
        "double_stream_blocks.0": "(image, text)",
        "double_stream_blocks.0.block.attn1": "(image, text)",
        "single_stream_blocks.0": "image text",
        "single_stream_blocks.0.block.attn1": "image text",
    },
    text="encoder_hidden_states_t5",
    held_back=True,
    experts=True,
)
def hidream() -> HiDreamImagePipeline:
    """The pipeline brings every size to the area of its default one, here slightly more than is asked for."""
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        caption_channels=[text.WIDTH, text.WIDTH],
        text_emb_dim=text.WIDTH,
        axes_dims_rope=(8, 4, 4),
        max_resolution=(16, 16),
        llama_layers=[0, 1, 0, 1],
        **HEADS,
    )
    pipe = HiDreamImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoders.kl(),
        text_encoder=text.clip(text.WIDTH // 2, projection=True),
        tokenizer=text.clip_tokenizer(),
        text_encoder_2=text.clip(text.WIDTH // 2, projection=True),
        tokenizer_2=text.clip_tokenizer(),
        text_encoder_3=text.t5(),
        tokenizer_3=text.t5_tokenizer(),
        text_encoder_4=text.llama(),
        tokenizer_4=text.glm_tokenizer(),
        transformer=transformer,
    )
    pipe.default_sample_size = 10
    return pipe
