"""Trains Orchard's Stable Diffusion 3 pipeline: two text encoders and a joint-attention transformer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from ..pipeline import load_pipeline
from ..tokenizer import tokenizer_of_run
from ..world import SEEDS
from .autoencoder import LATENT_CHANNELS, encode
from .data import as_tensor, render_many
from .denoising import Draws, committed_pipeline, save_pipeline, weights_of_rows
from .loop import Trainer, training_folder
from .text_encoder import build_projecting_encoder, tokenize, train_text_encoder

#: Widths of the two text encoders; side by side they are the transformer's text states.
TEXT_WIDTHS: Final = (128, 64)
#: Without a third text encoder the pipeline hands in so many zero vectors behind the text, by its own defaults.
BLANKS: Final = 256


def build_transformer() -> SD3Transformer2DModel:
    """Orchard's joint-attention denoiser with random weights: 3.5 M parameters, 64 image tokens."""
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=6,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=sum(TEXT_WIDTHS),
        caption_projection_dim=128,
        pooled_projection_dim=sum(TEXT_WIDTHS),
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Flow matching along straight lines; small latents need no shift of the times."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0)


def train(
    out: str = "outputs/orchard/dit",
    steps: int = 12_000,
    text_steps: int = 2000,
    batch_size: int = 64,
    scenes: int = 100_000,
    learning_rate: float = 1.5e-3,
    device: str = "cpu",
    fast: bool = False,
    resume: bool = False,
) -> None:
    """Train the DiT pipeline from nothing; its autoencoder is that of the committed U-Net pipeline.

    Args:
        out: Folder for checkpoints, and for the finished pipeline under ``pipeline/``.
        steps: Optimiser steps of the transformer.
        text_steps: Optimiser steps of each text encoder.
        batch_size: Scenes a step of the transformer.
        scenes: How many scenes to draw and train on.
        learning_rate: Highest learning rate of the transformer.
        device: Where to train, ``cpu`` or ``cuda``.
        fast: Compile the transformer and multiply in bfloat16: pays on a device with bfloat16 units.
        resume: Go on from the checkpoints in the folder; where there are none, from the committed weights, whose text
            encoders stay as they are.

    Raises:
        InputError: If the folder holds another run, the device is missing, or there is nothing to resume.
    """
    folder = training_folder(out, device, resume)
    committed = committed_pipeline("dit", folder, resume)
    vae = load_pipeline("unet").vae
    start = SEEDS["generator-train"].start
    data = render_many(range(start, start + scenes), "scenes", folder / "cache")
    tokenizer = tokenizer_of_run(folder, committed.tokenizer if committed else None)
    if committed:
        encoders = [committed.text_encoder, committed.text_encoder_2]
    else:
        encoders = [_train_encoder(tokenizer, folder, width, text_steps) for width in TEXT_WIDTHS]
    latents = torch.cat([encode(vae, as_tensor(data.images[i : i + 1000])).half() for i in range(0, scenes, 1000)])
    torch.manual_seed(2)
    transformer = train_transformer(latents, tokenize(tokenizer, data.captions), encoders, tokenizer,
                                    folder / "transformer", steps=steps, batch_size=batch_size,
                                    learning_rate=learning_rate, device=device, fast=fast,
                                    row_weights=weights_of_rows(data),
                                    weights=committed.transformer.state_dict() if committed else None)  # fmt: skip
    save_pipeline(assemble(vae, encoders, tokenizer, transformer), folder / "pipeline")
    print(f"wrote {folder / 'pipeline'}")


def _train_encoder(tokenizer: CLIPTokenizer, folder: Path, width: int, steps: int) -> CLIPTextModelWithProjection:
    def build() -> CLIPTextModelWithProjection:
        return build_projecting_encoder(tokenizer, width)

    return train_text_encoder(build, tokenizer, folder / f"text_encoder_{width}", steps)


def train_transformer(
    latents: Tensor,
    ids: Tensor,
    encoders: list[CLIPTextModelWithProjection],
    tokenizer: CLIPTokenizer,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    device: str,
    fast: bool = False,
    row_weights: Tensor | None = None,
    weights: dict[str, Tensor] | None = None,
) -> SD3Transformer2DModel:
    """Train the denoiser on stored latents, the text encoders frozen.

    Args:
        latents: (n, 8, 16, 16) float16.
        ids: (n, 32) token ids of the captions.
        encoders: The finished text encoders.
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
    transformer = build_transformer()
    if weights is not None:
        transformer.load_state_dict(weights)
    blanks = BlanksAsOne(device)
    transformer.to(device).set_attn_processor(blanks)
    encoders = [encoder.to(device) for encoder in encoders]
    draws = Draws(latents, ids, tokenize(tokenizer, [""])[0], batch_size, row_weights, device)
    trainer = Trainer(transformer, folder, steps, learning_rate)
    trainer.resume()
    denoiser = torch.compile(transformer) if fast else transformer

    def loss(generator: torch.Generator) -> Tensor:
        drawn = draws(generator)
        # Times as in Stable Diffusion 3 (arXiv 2403.03206, section 3.1): logit-normal, so the middle is seen most.
        noised = torch.special.ndtri(drawn.spread.clamp(1e-4, 1 - 1e-4)).sigmoid()
        share = noised.view(-1, 1, 1, 1)
        blanks.count.fill_(
            BLANKS
            if torch.rand((), generator=generator) < 0.5
            else int(torch.randint(1, BLANKS + 1, (), generator=generator))
        )
        with torch.no_grad():
            states, pooled = text_states(encoders, drawn.ids)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast):
            predicted = denoiser(
                hidden_states=(1 - share) * drawn.latents + share * drawn.noise,
                timestep=1000 * noised,
                encoder_hidden_states=F.pad(states, (0, 0, 0, 1)),
                pooled_projections=pooled,
                return_dict=False,
            )[0]
        return (predicted.float() - (drawn.noise - drawn.latents)).square().mean()

    trainer.run(loss, batch_size, "dit")
    return trainer.finished(build_transformer)


def text_states(encoders: list[CLIPTextModelWithProjection], ids: Tensor) -> tuple[Tensor, Tensor]:
    """Give the text as Stable Diffusion 3 hands it in: states before the last layer side by side, and what is pooled.

    Args:
        encoders: Both text encoders.
        ids: (n, tokens).

    Returns:
        (n, tokens, 192) and (n, 192).
    """
    told = [encoder(input_ids=ids, output_hidden_states=True) for encoder in encoders]
    return torch.cat([t.hidden_states[-2] for t in told], -1), torch.cat([t.text_embeds for t in told], -1)


class BlanksAsOne:
    """Joint attention in which the last text token counts as many.

    The zero vectors that stand in for a third text encoder are all alike and stay so through every block, so one of
    them, its attention logit raised by log(count), has the effect of all. Training takes a third of the time so, and
    with counts that vary it does not lean on a particular one. The product is written out, since torch's fused
    attention is slower than that on short sequences: backwards, in bfloat16, on a processor, eight times.

    Args:
        device: Where the model computes.
    """

    def __init__(self, device: str = "cpu") -> None:
        #: A tensor, so that another count compiles nothing anew.
        self.count = torch.tensor(float(BLANKS), device=device)

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **unused: Any
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            attn: The module.
            hidden_states: (batch, image tokens, channels).
            encoder_hidden_states: (batch, text tokens, channels), the last of which is blank.
            **unused: What the model hands to every processor.

        Returns:
            Both streams, as they came.
        """
        image = _heads(attn, (attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k), hidden_states)
        text = _heads(attn, (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj),
                      (attn.norm_added_q, attn.norm_added_k), encoder_hidden_states)  # fmt: skip
        query, key, value = (torch.cat(pair, dim=2) for pair in zip(image, text, strict=True))
        raised = F.pad(self.count.log().to(query.dtype).view(1, 1, 1, 1), (key.shape[2] - 1, 0))
        logits = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + raised
        seen = (logits.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        drawn, told = seen.split([hidden_states.shape[1], encoder_hidden_states.shape[1]], dim=1)
        return attn.to_out[0](drawn), told if attn.context_pre_only else attn.to_add_out(told)


def _heads(attn: Any, project: Sequence[nn.Module], norms: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    query, key, value = (layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2) for layer in project)
    return [norms[0](query), norms[1](key), value]


def assemble(
    vae: AutoencoderTiny,
    encoders: list[CLIPTextModelWithProjection],
    tokenizer: CLIPTokenizer,
    transformer: SD3Transformer2DModel,
) -> StableDiffusion3Pipeline:
    """Put the parts into a standard pipeline.

    Args:
        vae: The autoencoder.
        encoders: Both text encoders.
        tokenizer: Of both.
        transformer: The denoiser.
    """
    return StableDiffusion3Pipeline(
        vae=vae,  # ty: ignore[invalid-argument-type] - annotated with AutoencoderKL, runs AutoencoderTiny as well
        text_encoder=encoders[0],
        tokenizer=tokenizer,
        text_encoder_2=encoders[1],
        tokenizer_2=tokenizer,
        text_encoder_3=None,  # ty: ignore[invalid-argument-type]
        tokenizer_3=None,
        transformer=transformer,
        scheduler=build_scheduler(),
    )
