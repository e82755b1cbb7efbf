"""Tiny pipelines of the real classes with random weights, built in memory."""

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import dsas_diffusion as dsas
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.prompts import Concept, Prompt, PromptSet

LETTERS = "abcdefghijklmnopqrstuvwxyz"
STRENGTH = 4.0
GENERATION = {"num_inference_steps": 2, "guidance_scale": 4.0, "height": 16, "width": 16}


def tiny_pipeline(seed: int = 0, width: int = 32) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline for 16×16 pictures that differs from seed to seed."""
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=32)
    ends = {"bos_token_id": len(pieces) - 2, "eos_token_id": len(pieces) - 1, "pad_token_id": len(pieces) - 1}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(pieces),
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=32,
                **ends,
            )
        )
        with torch.no_grad():
            for name, parameter in encoder.named_parameters():
                if "embedding" in name:
                    parameter.mul_(20)  # else every prompt reads alike
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(width, 2 * width),
            layers_per_block=1,
            cross_attention_dim=32,
            attention_head_dim=2,
            norm_num_groups=8,
        )
        vae = AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder.eval(),
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_concept() -> PromptSet:
    """Prompts whose source and control share few letters, so that even random weights tell them apart."""
    source = tuple(Prompt(f"zzz zuzu {letter}", ("zzz",)) for letter in "zuxvy")
    target = tuple(Prompt(f"aaa zuzu {letter}") for letter in "zuwqk")
    control = tuple(Prompt(f"eee oror {letter} b") for letter in "abcdef")
    return PromptSet("tiny", source, target, control, Concept("zzz", "a photo of zzz"), twins=True)


def draw(pipe: StableDiffusionPipeline, prompts: list[str], seed: int = 0, **settings: object) -> torch.Tensor:
    """Pictures as one tensor, each from its own seed."""
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
    return pipe(prompts, generator=generators, output_type="pt", **{**GENERATION, **settings}).images


def open_steerer(pipe: DiffusionPipeline, **settings: object) -> dsas.Steerer:
    """A steerer whose gates stand open, so that every row and position that may change does."""
    settings = {"gate": "always", "map_from": "pooled", "strength": STRENGTH, "batch_size": 4, **settings}
    return dsas.fit(pipe, tiny_concept(), progress=False, **settings)


def hooks_left(pipe: DiffusionPipeline) -> int:
    """How many hooks of either kind the denoiser carries."""
    return hooks_in(denoiser_of(pipe))


def hooks_in(*models: nn.Module) -> int:
    """How many hooks of either kind models carry."""
    modules = [module for model in models for module in model.modules()]
    own = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
    return own + sum(len(module._diffusers_hook.hooks) for module in modules if hasattr(module, "_diffusers_hook"))
