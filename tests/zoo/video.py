"""Families that make videos."""

from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    WanPipeline,
    WanTransformer3DModel,
)

from . import autoencoders, text
from .family import TWO_CALLS, UNCONDITIONAL_FIRST, family

CALL = {"num_inference_steps": 2, "guidance_scale": 4.0, "num_frames": 5, "max_sequence_length": text.LENGTH}


@family(
    generation={**CALL, "height": 96, "width": 64},
    unguided={"guidance_scale": 1.0},
    calls=TWO_CALLS,
    grid=(2 * 6, 4),
    frames=2,
    tokens="patch_embedding",
    sites={"blocks.0": "tokens", "blocks.0.attn1": "tokens"},
)
def wan() -> WanPipeline:
    transformer = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        text_dim=text.WIDTH,
        freq_dim=32,
        ffn_dim=48,
        num_layers=2,
        rope_max_seq_len=32,
    )
    return WanPipeline(
        tokenizer=text.t5_tokenizer(),
        text_encoder=text.umt5(),
        vae=autoencoders.wan(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        transformer=transformer,
    )


@family(
    generation={**CALL, "height": 64, "width": 32},
    unguided={"guidance_scale": 1.0},
    calls=UNCONDITIONAL_FIRST,
    grid=(2 * 8, 4),
    frames=2,
    tokens="proj_in",
    sites={"transformer_blocks.0": "tokens", "transformer_blocks.0.attn1": "tokens"},
    held_back=True,
)
def ltx() -> LTXPipeline:
    transformer = LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=text.WIDTH,
    )
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoders.ltx(),
        text_encoder=text.t5(),
        tokenizer=text.t5_tokenizer(),
        transformer=transformer,
    )
