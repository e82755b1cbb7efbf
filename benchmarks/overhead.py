"""What steering and recording cost on full-size denoisers with random weights, beside a textbook hook.

python -m benchmarks.overhead --denoisers sd15
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, StableDiffusionPipeline
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from benchmarks.steering_on import attached
from dsas_diffusion.evaluation.report import format_table
from dsas_diffusion.evaluation.timing import in_turn, ratio
from dsas_diffusion.files import atomic_write
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.hooks.hosts import DenoiserHost
from dsas_diffusion.hooks.recorder import ActivationRecorder
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.hooks.steered_site import SteeredSite
from dsas_diffusion.methods.base import METHODS
from dsas_diffusion.recipes.pages import machine

#: How one variant is switched on for a call.
Variant = Callable[[], AbstractContextManager[object]]


class TextbookHook:
    """The same gate and map as they are often written: PCA and regression one after the other, in a forward hook."""

    def __init__(self, steered: SteeredSite, strength: float, device: torch.device, dtype: torch.dtype) -> None:
        width, components = steered.site.channels, 5
        self.mean = torch.zeros(width, device=device, dtype=dtype)
        self.components = torch.randn(components, width, device=device, dtype=dtype) / width**0.5
        self.weight = torch.randn(components, device=device, dtype=dtype)
        self.shift = steered.method.get_buffer("shift").to(device, dtype)
        self.strength = strength

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        unconditional, conditional = output.chunk(2)
        scores = torch.sigmoid((conditional - self.mean) @ self.components.T @ self.weight)
        changed = conditional + self.strength * scores.unsqueeze(-1) * self.shift
        return torch.cat([unconditional, changed])


def random_sites(denoiser: nn.Module, preset: str, gate: str) -> list[SteeredSite]:
    """Steered sites with random gates and maps, as wide as fitted ones."""
    generator = torch.Generator().manual_seed(0)
    steered = []
    for site in find_sites(denoiser, preset):
        method, own = METHODS["caa"]().reset(site.channels), GATES[gate]().reset(site.channels)
        method.register_buffer("shift", 0.1 * torch.randn(site.channels, generator=generator))
        if gate != "always":
            own.register_buffer("weight", torch.randn(site.channels, generator=generator) / site.channels**0.5)
            own.register_buffer("bias", torch.tensor(0.0))
        steered.append(SteeredSite(site, own, method, 1.0, {}))
    return steered


def sd15(size: int, device: str, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Stable Diffusion 1.5 with its own U-Net's shape, random weights, and prompts that are encoded already."""
    with torch.device(device):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768).to(dtype).eval()
    vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    pipe = StableDiffusionPipeline(
        vae=vae.to(device, dtype),
        text_encoder=None,  # ty: ignore[invalid-argument-type]
        tokenizer=None,  # ty: ignore[invalid-argument-type]
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),  # ty: ignore[invalid-argument-type]
        safety_checker=None,  # ty: ignore[invalid-argument-type]
        feature_extractor=None,  # ty: ignore[invalid-argument-type]
        requires_safety_checker=False,
    )
    text = torch.randn(1, 77, 768, device=device, dtype=dtype)
    return pipe, {"prompt_embeds": text, "negative_prompt_embeds": -text, "height": size, "width": size}


def sdxl(size: int, device: str, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Stable Diffusion XL in the same way."""
    from diffusers import StableDiffusionXLPipeline

    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=128, cross_attention_dim=2048, block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        ).to(dtype).eval()  # fmt: skip
    vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    nothing: Any = None
    pipe = StableDiffusionXLPipeline(
        vae=vae.to(device, dtype),
        text_encoder=nothing, text_encoder_2=nothing, tokenizer=nothing, tokenizer_2=nothing, unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),  # ty: ignore[invalid-argument-type]
        add_watermarker=False,
    )  # fmt: skip
    text, pooled = (torch.randn(*shape, device=device, dtype=dtype) for shape in ((1, 77, 2048), (1, 1280)))
    given = {"prompt_embeds": text, "negative_prompt_embeds": -text}
    given |= {"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": -pooled}
    return pipe, {**given, "height": size, "width": size}


def flux(size: int, device: str, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """FLUX.1 in the same way: 12 B parameters."""
    from diffusers import FluxPipeline
    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    with torch.device(device):
        transformer = FluxTransformer2DModel(guidance_embeds=True).to(dtype).eval()
    vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, latent_channels=16)
    nothing: Any = None
    pipe = FluxPipeline(
        vae=vae.to(device, dtype),
        text_encoder=nothing, tokenizer=nothing, text_encoder_2=nothing, tokenizer_2=nothing,
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip
    text, pooled = (torch.randn(*shape, device=device, dtype=dtype) for shape in ((1, 512, 4096), (1, 768)))
    return pipe, {"prompt_embeds": text, "pooled_prompt_embeds": pooled, "height": size, "width": size}


BUILDERS = {"sd15": sd15, "sdxl": sdxl, "flux": flux}


@contextmanager
def hooked(pipe: Any, sites: list[SteeredSite], device: torch.device, dtype: torch.dtype) -> Any:
    """The textbook's way, for as long as the context lasts."""
    denoiser = denoiser_of(pipe)
    with ExitStack() as stack:
        for steered in sites:
            hook = TextbookHook(steered, 1.0, device, dtype)
            handle = denoiser.get_submodule(steered.site.path).register_forward_hook(hook)
            stack.callback(handle.remove)
        yield


@contextmanager
def recorded(pipe: Any) -> Any:
    """Record what a fit with the default settings does: the sites that it steers, and the blocks that it may read."""
    host = DenoiserHost(pipe)
    with host.reader() as calls:
        recorder = ActivationRecorder(host.model, find_sites(host.model, ["auto", "blocks"]), calls, positions=16)
        with recorder:
            yield recorder
        recorder.end_batch([0])
        recorder.samples()


class Peak:
    """The most memory that is taken, in GiB, from the making on.

    Args:
        on_gpu: Whether the GPU's counts, and not the process's; that of the process needs Linux.
    """

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu = on_gpu
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the peak so far

    def gib(self) -> float:
        """Give it."""
        if self.on_gpu:
            return torch.cuda.max_memory_allocated() / 2**30
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 2**20


def measure(
    pipe: Any, given: dict[str, Any], variants: dict[str, Variant], steps: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Time every variant in turn, each round in another order; give seconds a step, and memory in GiB at the peak."""
    on_gpu = denoiser_of(pipe).device.type == "cuda"
    pipe.set_progress_bar_config(disable=True)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    memory = dict.fromkeys(variants, 0.0)
    for name, counts in in_turn(list(variants), rounds):
        with variants[name]():
            gc.collect()
            peak = Peak(on_gpu)
            if on_gpu:
                torch.cuda.synchronize()
            began = time.perf_counter()
            pipe(**given, num_inference_steps=steps, output_type="latent", generator=torch.Generator().manual_seed(0))
            if on_gpu:
                torch.cuda.synchronize()
            taken = (time.perf_counter() - began) / steps
            memory[name] = max(memory[name], peak.gib())
        if counts:
            seconds[name].append(taken)
    return seconds, memory


def main() -> None:
    """Measure and print, or write a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--denoisers", nargs="+", default=["sd15"], choices=BUILDERS)
    parser.add_argument("--size", type=int, default=512, help="height and width of the picture")
    parser.add_argument("--sites", default="attention")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compiled", action="store_true", help="compile, too: by blocks, with inductor")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", help="a Markdown file for the table")
    options = parser.parse_args()
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    rows = []
    for name in options.denoisers:
        pipe, given = BUILDERS[name](options.size, options.device, dtype)
        device = torch.device(options.device)
        gated, open_ = (random_sites(denoiser_of(pipe), options.sites, gate) for gate in ("logistic", "always"))
        variants: dict[str, Variant] = {
            "unsteered": nullcontext,
            "vanilla": partial(attached, DenoiserHost(pipe), open_),
            "DSAS": partial(attached, DenoiserHost(pipe), gated),
            "recording": partial(recorded, pipe),
        }
        if name != "flux":  # whose double blocks return two streams, in another order than the textbook thinks
            variants["textbook hook"] = partial(hooked, pipe, gated, device, dtype)
        rows += table_of(name, len(gated), *measure(pipe, given, variants, options.steps, options.rounds))
        if options.compiled:
            denoiser_of(pipe).compile_repeated_blocks()
            compiled = {f"{variant}, compiled": variants[variant] for variant in ("unsteered", "DSAS")}
            rows += table_of(name, len(gated), *measure(pipe, given, compiled, options.steps, options.rounds))
        del pipe
        gc.collect()
    columns = {"denoiser": "", "sites": "d", "variant": "", "s/step": ".3f", "ratio": ".4f", "from": ".4f", "to": ".4f"}
    columns["peak GiB"] = ".2f"
    print(format_table(rows, columns))
    if options.out:
        atomic_write(options.out, page(rows, options))
        print(f"wrote {options.out}")


def table_of(name: str, sites: int, seconds: dict[str, list[float]], memory: dict[str, float]) -> list[list[Any]]:
    """One row a variant: seconds, and the median of the paired ratios to the first with its interval."""
    base = np.array(next(iter(seconds.values())))
    rows = []
    for variant, taken in seconds.items():
        rows.append([name, sites, variant, statistics.median(taken), *ratio(taken, base), memory[variant]])
    return rows


def page(rows: list[list[Any]], options: argparse.Namespace) -> str:
    """The table as Markdown."""
    lines = [
        "# What steering costs",
        "",
        f"`python -m benchmarks.overhead --denoisers {' '.join(options.denoisers)} --size {options.size} --sites "
        f"{options.sites} --steps {options.steps} --rounds {options.rounds} --device {options.device}"
        f"{' --compiled' * options.compiled}`, {machine(options.device)}.",
        "",
        f"Full-size denoisers with random weights, one picture of {options.size}×{options.size} with guidance, steered "
        f"at every site of `{options.sites}`. {options.rounds} rounds; within each, all variants in turn. The ratio is "
        "the median of the paired ratios to the unsteered call of the same round, with its 95 % bootstrap interval. "
        "*Recording* is what a fit with the default settings does while it draws. *Textbook hook*: the same gate and "
        "map in a plain forward hook, PCA and regression not folded. On a CPU the peak is the whole process's.",
        "",
        "| denoiser | sites | variant | s/step | ratio | 95 % from | to | peak GiB |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {r[0]} | {r[1]} | {r[2]} | {r[3]:.3f} | {r[4]:.4f} | {r[5]:.4f} | {r[6]:.4f} | {r[7]:.2f} |"
            for r in rows
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
