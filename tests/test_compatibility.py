"""Steering beside the rest of Diffusers: guidance, LoRA, offload, precision, caches, callbacks, and what can't work.

Each test says with `@works` what it shows, and `tools/compatibility.py` writes docs/compatibility.md from that.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import diffusers
import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_module
from diffusers.hooks import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    LayerSkipConfig,
    MagCacheConfig,
    PyramidAttentionBroadcastConfig,
    SeaCacheConfig,
    TaylorSeerCacheConfig,
    apply_faster_cache,
    apply_first_block_cache,
    apply_layer_skip,
)
from tiny import tiny_concept
from torch import nn
from works import works
from zoo import FAMILIES, draw, pictures, text
from zoo.family import enliven
from zoo.unets import _unet_sizes

import dsas_diffusion as dsas
from dsas_diffusion.hooks.discovery import image_index
from dsas_diffusion.hooks.guidance import denoiser_of

PROMPTS = ["zzz zuzu", "eee oror"]
STRENGTH = 4.0
HEADS = "attention-heads"
#: What nobody has tried, for the page.
NOT_TRIED = (
    "peft itself: the LoRA of the tests is a stand-in that takes a layer's place as peft does",
    "IP-Adapter",
    "offload to and from a GPU, and streams in group offload: the tests move weights between the processor and itself",
    "quantised weights (bitsandbytes, torchao)",
    "SeaCache, which skips nothing on the tiny pipelines: only that attaching under it is an error; and TextKVCache",
    "context and tensor parallelism",
)
#: Presets whose sites are hooked in different ways: module outputs, leaves with weights of their own, their inputs.
KINDS = ("auto", "norms", HEADS)
pytestmark = [
    pytest.mark.filterwarnings("ignore:The steerer was fitted with"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated"),  # Diffusers' own call, where SDXL is in float16
]


class Case:
    """A pipeline of a family, fresh, and a steerer for it that is open everywhere."""

    def __init__(self, name: str, sites: str = "auto", steps: int = 2) -> None:
        self.family, self.steerer = FAMILIES[name], fitted(name, sites)
        self.pipe, self.steps = self.family.build(), steps

    @property
    def denoiser(self):
        return denoiser_of(self.pipe)

    @property
    def site(self) -> nn.Module:
        return self.denoiser.get_submodule(next(iter(self.steerer.sites.values())).site.module)

    def draw(self, prompts: list[str] = PROMPTS, **settings) -> torch.Tensor:
        return draw(self.family, self.pipe, prompts, **{"num_inference_steps": self.steps, **settings})

    def rows(self, call: Callable, strength: float | list[float] = STRENGTH) -> list[str]:
        """Which rows are steered at a site, call by call, as far as the calls before gave the same: "0011"."""
        with outputs_of(self.site) as before:
            call()
        with outputs_of(self.site) as after, self.steerer.attached(self.pipe, strength):
            call()
        return [
            "".join(str(int(not torch.equal(a, b))) for a, b in zip(*both, strict=True))
            for both in zip(before, after, strict=True)
        ]


@cache
def fitted(name: str, sites: str) -> dsas.Steerer:
    family = FAMILIES[name]
    return fit(family.build(), sites=sites, generation={**family.generation, **pictures(family)})


def fit(pipe, **settings) -> dsas.Steerer:
    return dsas.fit(
        pipe,
        tiny_concept(),
        gate="always",
        map_from="pooled",
        strength=STRENGTH,
        batch_size=4,
        progress=False,
        **settings,
    )


@cache
def pictures_of(name: str, sites: str = "auto", steps: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """What a family draws with nothing special: unsteered, and steered."""
    case = Case(name, sites, steps)
    plain = case.draw()
    with case.steerer.attached(case.pipe):
        return plain, case.draw()


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    seen: list[torch.Tensor] = []

    def look(module, args, output):
        seen.append(output if isinstance(output, torch.Tensor) else output[image_index(type(module))])

    handle = module.register_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


def assert_clean(pipe) -> None:
    for module in denoiser_of(pipe).modules():
        assert not module._forward_pre_hooks or "accelerate" in str(module._forward_pre_hooks)
        assert not module._forward_hooks
        assert "dsas_steering" not in getattr(getattr(module, "_diffusers_hook", None), "hooks", {})
    assert "prepare_latents" not in vars(pipe)


def seeds(count: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in range(count)]


def both_orders(case: Case, switch_on: Callable[[], object]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures under a feature, unsteered and steered: the same whichever came first, and no trace is left.

    With the feature on, λ = 0 draws bit for bit what is drawn without a steerer, and so does a detached one.
    """
    attachment = case.steerer.attach(case.pipe)
    case.draw()
    switch_on()
    first = case.draw()
    attachment.set_strength(0.0)
    nothing = case.draw()
    attachment.detach()
    plain = case.draw()
    assert torch.equal(nothing, plain)
    with case.steerer.attached(case.pipe) as attachment:
        second = case.draw()
        attachment.set_strength(0.0)
        assert torch.equal(case.draw(), plain)
    assert torch.equal(case.draw(), plain)
    assert_clean(case.pipe)
    assert torch.equal(first, second)
    assert first.isfinite().all()
    assert (first - plain).abs().amax() > 0.01
    return plain, first


# Guidance and prompts


@works("Guidance", "Classifier-free guidance, both halves in one call", "only rows that follow the prompt are steered",
       "sd zimage sdxl sd3 sana")  # fmt: skip
def test_guidance_in_one_call(name):
    case = Case(name)
    expected = "1100" if name == "zimage" else "0011"
    assert case.rows(case.draw)[0] == expected


@works("Guidance", "Classifier-free guidance in two calls", "only the call with the prompt is steered",
       "flux lumina2 qwenimage wan")  # fmt: skip
def test_guidance_in_two_calls(name):
    case = Case(name)
    assert case.rows(case.draw)[:2] == ["11", "00"]


@works("Guidance", "No guidance", "every row is steered", "sd flux sdxl sd3 flux_distilled lumina2 zimage")
def test_no_guidance(name):
    case = Case(name)
    assert case.rows(lambda: case.draw(**case.family.unguided))[0] == "11"


@works("Guidance", "Negative prompts, one for all or one for each", "they stay unsteered", "sd zimage sdxl sd3")
@pytest.mark.parametrize("negative", ["bad", ["bad", "worse"]], ids=["one", "each"])
def test_negative_prompts(name, negative):
    case = Case(name)
    first = "1100" if name == "zimage" else "0011"

    def call() -> torch.Tensor:  # a copy each time, since Z-Image's pipeline writes into the list that it is given
        return case.draw(negative_prompt=negative if isinstance(negative, str) else list(negative))

    assert case.rows(call)[0] == first


@works("Guidance", "One negative prompt for several prompts, where the text then has fewer rows than the latents",
       "rows are those of the latents", "flux qwenimage")  # fmt: skip
def test_a_negative_prompt_with_fewer_rows(name):
    case = Case(name)
    handed = []
    handle = case.denoiser.register_forward_pre_hook(
        lambda m, args, given: (
            handed.append((len(given["hidden_states"]), len(given["encoder_hidden_states"]))) and None
        ),
        with_kwargs=True,
    )
    settings = {**case.family.generation, "output_type": "pt"}
    found = case.rows(lambda: case.pipe(prompt=PROMPTS, generator=seeds(), **settings), strength=[0.0, STRENGTH])
    handle.remove()
    assert handed[1] == (2, 1)
    assert found[:2] == ["01", "00"]


@works("Guidance", "Perturbed-attention guidance, with classifier-free guidance and without",
       "the perturbed rows follow the prompt, and are steered with it")  # fmt: skip
@pytest.mark.parametrize(("scale", "expected"), [(4.0, "000101"), (0.0, "0101")], ids=["guided", "alone"])
def test_perturbed_attention_guidance(scale, expected):
    case = Case("sd")
    case.pipe = diffusers.StableDiffusionPAGPipeline(
        **case.pipe.components, pag_applied_layers=["mid"], requires_safety_checker=False
    )
    case.pipe.set_progress_bar_config(disable=True)
    settings = {**case.family.generation, "guidance_scale": scale, "pag_scale": 3.0, "output_type": "pt"}
    found = case.rows(lambda: case.pipe(PROMPTS, generator=seeds(), **settings), strength=[0.0, STRENGTH])
    assert found[0] == expected


@works("Guidance", "Skip-layer guidance", "its third prediction follows the prompt, and is steered", "sd3")
def test_skip_layer_guidance(name):
    case = Case(name)
    settings = {"skip_guidance_layers": [1], "skip_layer_guidance_start": -1.0, "skip_layer_guidance_stop": 1.0}
    with outputs_of(case.denoiser.transformer_blocks[1].attn) as skipped:
        found = case.rows(lambda: case.draw(num_inference_steps=1, **settings))
    assert found == ["0011", "11"]
    assert [len(output) for output in skipped] == [4, 4]  # not in the third


@works("Guidance", "InstructPix2Pix, three predictions in one call", "the one with prompt and picture is steered")
@pytest.mark.filterwarnings("ignore:You have passed")
def test_three_predictions_in_one_call():
    case = Case("sd")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = diffusers.UNet2DConditionModel(**_unet_sizes(8), cross_attention_dim=text.WIDTH, attention_head_dim=2)
        enliven(unet)
    parts = {**case.pipe.components, "unet": unet.eval()}
    case.pipe = diffusers.StableDiffusionInstructPix2PixPipeline(**parts, requires_safety_checker=False)
    case.pipe.set_progress_bar_config(disable=True)
    settings = {"image": torch.rand(1, 3, 24, 16, generator=seeds()[0]), "num_inference_steps": 2}
    settings |= {"guidance_scale": 4.0, "image_guidance_scale": 2.0}
    case.steerer = fit(case.pipe, generation=settings)
    found = case.rows(lambda: case.pipe(PROMPTS, generator=seeds(), output_type="pt", **settings))
    assert found[0] == "110000"


@works("Guidance", "Guidance that a callback switches off during a run", "the rows that are left are steered", "sd")
def test_guidance_switched_off_by_a_callback(name):
    from diffusers.callbacks import SDCFGCutoffCallback

    case = Case(name)
    cutoff = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=0)  # it keeps one prompt alone
    assert case.rows(lambda: case.draw(PROMPTS[:1], callback_on_step_end=cutoff)) == ["01", "1"]


@works("Guidance", "`cfg_truncation` and `cfg_trunc_ratio`: no guidance in the later steps",
       "the rows that are left are steered", "zimage lumina2")  # fmt: skip
def test_guidance_that_ends_early(name):
    case = Case(name, steps=3)
    settings = {"cfg_truncation": 0.5} if name == "zimage" else {"cfg_trunc_ratio": 0.5}
    found = case.rows(lambda: case.draw(**settings))
    assert found == (["1100", "1111", "11"] if name == "zimage" else ["11", "00", "11", "11"])


@works("Guidance", "ControlNet", "as the pipeline without it", "sd")
def test_controlnet(name):
    case = Case(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        control = diffusers.ControlNetModel.from_unet(
            case.pipe.unet, conditioning_channels=3, conditioning_embedding_out_channels=(8, 8)
        )
        enliven(control)
    parts = {**case.pipe.components, "controlnet": control.eval()}
    case.pipe = diffusers.StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
    case.pipe.set_progress_bar_config(disable=True)
    settings = {**case.family.generation, "image": torch.ones(1, 3, 24, 16), "output_type": "pt"}
    assert case.rows(lambda: case.pipe(PROMPTS, generator=seeds(), **settings))[0] == "0011"


@works("Batches", "Steered and unsteered prompts in one batch, with `num_images_per_prompt`",
       "λ is one number per prompt; a prompt with λ = 0 is drawn bit for bit as without a steerer",
       "sd flux sdxl sd3 zimage")  # fmt: skip
def test_mixed_batches(name):
    case = Case(name)
    plain = case.draw(num_images_per_prompt=2)
    with case.steerer.attached(case.pipe, [0.0, STRENGTH]):
        mixed = case.draw(num_images_per_prompt=2)
    assert torch.equal(mixed[:2], plain[:2])
    assert ((mixed[2:] - plain[2:]).abs().flatten(1).amax(1) > 1e-3).all()


@works("Batches", "Prompt embeddings, and a pipeline without a text encoder", "the same pictures", "sd")
def test_prompt_embeddings(name):
    case = Case(name)
    ours, theirs = case.pipe.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=True)
    settings = {**case.family.generation, "output_type": "pt"}
    case.pipe.text_encoder = None
    with case.steerer.attached(case.pipe):
        found = case.pipe(prompt_embeds=ours, negative_prompt_embeds=theirs, generator=seeds(), **settings).images
    assert torch.equal(found, pictures_of(name)[1])


# LoRA: peft is not at hand, so this is what it puts in a linear layer's place


class Lora(nn.Module):
    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base_layer
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("down", torch.randn(2, base_layer.in_features, generator=generator) / 4)
        self.register_buffer("up", torch.randn(base_layer.out_features, 2, generator=generator) / 4)

    @property
    def weight(self) -> torch.Tensor:
        return self.base_layer.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base_layer(x) + x @ self.down.T @ self.up.T


def projections(case: Case) -> Iterator[tuple[nn.ModuleList | nn.Module, str]]:
    """Where the steered attention modules keep the layers that a LoRA takes the place of."""
    for path in dict.fromkeys(path.partition(".heads.")[0] for path in case.steerer.sites):
        attention = case.denoiser.get_submodule(path)
        yield attention, "to_q"
        if getattr(attention, "to_out", None) is not None:
            yield attention.to_out, "0"


def load_lora(case: Case) -> None:
    for holder, name in projections(case):
        if not isinstance(getattr(holder, name), Lora):
            setattr(holder, name, Lora(getattr(holder, name)))


def unload_lora(case: Case) -> None:
    for holder, name in projections(case):
        setattr(holder, name, getattr(holder, name).base_layer)


@works("LoRA", "A LoRA on steered attention, loaded before or after attaching, and unloaded while attached",
       "as steering a model into which it was merged", "sd flux sd3")  # fmt: skip
def test_lora(name):
    case = Case(name)
    merged = Case(name)
    with torch.no_grad():
        for holder, key in projections(merged):
            layer = getattr(holder, key)
            lora = Lora(layer)
            layer.weight += lora.up @ lora.down
    with merged.steerer.attached(merged.pipe):
        expected = merged.draw()
    plain, found = both_orders(case, lambda: load_lora(case))
    assert torch.allclose(found, expected, atol=1e-3)
    assert not torch.allclose(plain, pictures_of(name)[0], atol=1e-2)
    with case.steerer.attached(case.pipe):
        unload_lora(case)
        assert torch.equal(case.draw(), pictures_of(name)[1])
    assert torch.equal(case.draw(), pictures_of(name)[0])


@works("LoRA", "A LoRA that comes or goes while attention heads are steered",
       "the same, whenever it comes or goes", "sd flux sd3")  # fmt: skip
def test_lora_under_steered_heads(name):
    case = Case(name, HEADS)
    both_orders(case, lambda: load_lora(case))
    with case.steerer.attached(case.pipe):
        unload_lora(case)
        assert torch.equal(case.draw(), pictures_of(name, HEADS)[1])
    assert torch.equal(case.draw(), pictures_of(name, HEADS)[0])
    assert_clean(case.pipe)


# Memory


@works("Memory", "`enable_model_cpu_offload`", "either order", "sd flux sdxl sd3")
@pytest.mark.parametrize("sites", KINDS)
def test_model_offload(name, sites):
    case = Case(name, sites)
    plain, steered = both_orders(case, lambda: case.pipe.enable_model_cpu_offload(device="cpu"))
    assert torch.equal(plain, pictures_of(name, sites)[0])
    assert torch.equal(steered, pictures_of(name, sites)[1])


def offload_in_sequence(case: Case) -> None:
    """What `enable_sequential_cpu_offload` does to each of the models."""
    cpu_offload(case.denoiser, torch.device("cpu"))


@works("Memory", "`enable_sequential_cpu_offload`", "either order", "sd pixart_sigma flux")
@pytest.mark.parametrize("sites", [*KINDS, "blocks"])
def test_sequential_offload(name, sites):
    case = Case(name, sites)
    plain, steered = both_orders(case, lambda: offload_in_sequence(case))
    assert {p.device.type for p in case.denoiser.parameters()} == {"meta"}
    assert torch.equal(plain, pictures_of(name, sites)[0])
    assert torch.equal(steered, pictures_of(name, sites)[1])


@works("Memory", "Offload that is switched off while a steerer is attached",
       "a steerer that came first stays; one that came later loses sites, which is an error in the next run",
       "sd")  # fmt: skip
@pytest.mark.parametrize("steering_first", [True, False], ids=["first", "later"])
def test_offload_switched_off(name, steering_first):
    case = Case(name, "norms")
    plain, steered = pictures_of(name, "norms")
    if not steering_first:
        offload_in_sequence(case)
    attachment = case.steerer.attach(case.pipe)
    if steering_first:
        offload_in_sequence(case)
    assert torch.equal(case.draw(), steered)
    remove_hook_from_module(case.denoiser, recurse=True)
    if steering_first:
        assert torch.equal(case.draw(), steered)
    else:
        with pytest.raises(dsas.InputError, match="never ran"):
            case.draw()
    attachment.detach()
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), plain)


@works("Memory", "`enable_group_offload`, by blocks and by leaves", "either order", "sd flux sd3")
@pytest.mark.parametrize("level", ["block_level", "leaf_level"])
@pytest.mark.parametrize("sites", KINDS)
def test_group_offload(name, sites, level):
    case = Case(name, sites)
    cpu = torch.device("cpu")
    by_block = {"num_blocks_per_group": 1} if level == "block_level" else {}
    plain, steered = both_orders(
        case,
        lambda: case.denoiser.enable_group_offload(
            onload_device=cpu, offload_device=cpu, offload_type=level, **by_block
        ),
    )
    assert torch.equal(plain, pictures_of(name, sites)[0])
    assert torch.equal(steered, pictures_of(name, sites)[1])


@works("Memory", "Attention slicing", "either order", "sd")
@pytest.mark.parametrize("sites", KINDS)
def test_attention_slicing(name, sites):
    case = Case(name, sites)
    found = both_orders(case, lambda: case.pipe.enable_attention_slicing(1))
    for ours, theirs in zip(found, pictures_of(name, sites), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


@works("Memory", "`fuse_qkv_projections`", "either order", "sd flux")
@pytest.mark.parametrize("sites", ["auto", HEADS])
def test_fused_projections(name, sites):
    case = Case(name, sites)
    found = both_orders(case, lambda: case.denoiser.fuse_qkv_projections())
    for ours, theirs in zip(found, pictures_of(name, sites), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


@works("Memory", "FreeU", "either order", "sd")
def test_freeu(name):
    case = Case(name, "blocks")
    both_orders(case, lambda: case.pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.5, b2=1.6))


# Precision


@works("Precision", "bfloat16 and float16", "steered as far as in float32; attach before or after `pipe.to`",
       "sd flux sdxl sd3 zimage")  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision(name, dtype):
    case = Case(name)
    plain, steered = both_orders(case, lambda: case.pipe.to(dtype=dtype))
    assert case.denoiser.dtype == dtype
    assert (steered - plain).abs().mean() > (plain - pictures_of(name)[0]).abs().mean()


@works("Precision", "`enable_layerwise_casting` to 8 bits", "either order", "sd flux sd3")
@pytest.mark.parametrize("sites", KINDS)
def test_layerwise_casting(name, sites):
    case = Case(name, sites)
    both_orders(
        case,
        lambda: case.denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32),
    )


@works("Precision", "Attention backends", "either order", "sd3 flux qwenimage")
def test_attention_backends(name):
    case = Case(name)
    expected = pictures_of(name)
    try:
        found = both_orders(case, lambda: case.denoiser.set_attention_backend("_native_math"))
    finally:
        case.denoiser.set_attention_backend("native")  # which counts for all models
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


# Step-skipping caches, set up to skip as much as they can

CACHES = {
    "first-block": lambda pipe: FirstBlockCacheConfig(threshold=1e9),
    "pyramid": lambda pipe: PyramidAttentionBroadcastConfig(
        spatial_attention_timestep_skip_range=(-1, 1001), current_timestep_callback=lambda: 500
    ),
    "faster": lambda pipe: FasterCacheConfig(
        spatial_attention_timestep_skip_range=(-1, 900), is_guidance_distilled=True,
        current_timestep_callback=lambda: pipe.current_timestep, attention_weight_callback=lambda module: 0.5,
    ),
    "taylorseer": lambda pipe: TaylorSeerCacheConfig(
        cache_interval=3, disable_cache_before_step=2, taylor_factors_dtype=torch.float32
    ),
    "mag": lambda pipe: MagCacheConfig(
        threshold=1e9, retention_ratio=0.25, num_inference_steps=4, mag_ratios=[1.0] * 4
    ),
    "sea": lambda pipe: SeaCacheConfig(threshold=1e9),
}  # fmt: skip


@cache
def under_cache(name: str, kind: str) -> torch.Tensor:
    """What a cache draws with no steerer anywhere near."""
    case = Case(name, steps=4)
    case.denoiser.enable_cache(CACHES[kind](case.pipe))
    return case.draw()


@works("Caches", "First-block cache, pyramid attention broadcast, FasterCache, TaylorSeer, MagCache",
       "attach first, then `enable_cache`; detach below the cache or after it; what is skipped keeps its steering",
       "flux flux_distilled")  # fmt: skip
@pytest.mark.parametrize("kind", ["first-block", "pyramid", "faster", "taylorseer", "mag"])
@pytest.mark.parametrize("sites", ["auto", "blocks"])
def test_caches(name, sites, kind):
    case = Case(name, sites, steps=4)
    plain = case.draw()
    assert not torch.equal(under_cache(name, kind), plain)
    attachment = case.steerer.attach(case.pipe)
    steered = case.draw()
    case.denoiser.enable_cache(CACHES[kind](case.pipe))
    cached = case.draw()
    assert cached.isfinite().all()
    assert torch.equal(case.draw(), cached)
    assert (cached - under_cache(name, kind)).abs().amax() > 0.01
    attachment.set_strength(0.0)
    assert torch.equal(case.draw(), under_cache(name, kind))
    attachment.set_strength(STRENGTH)
    assert torch.equal(case.draw(), cached)
    attachment.detach()
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), under_cache(name, kind))
    case.denoiser.disable_cache()
    assert torch.equal(case.draw(), plain)
    with case.steerer.attached(case.pipe):
        assert torch.equal(case.draw(), steered)
        case.denoiser.enable_cache(CACHES[kind](case.pipe))
        case.denoiser.disable_cache()
        assert torch.equal(case.draw(), steered)
    assert torch.equal(case.draw(), plain)


@works("Caches", "A run that dies under a cache", "after detaching the cache has forgotten what was steered", "flux")
@pytest.mark.parametrize("kind", ["first-block", "taylorseer"])
def test_a_run_that_dies_under_a_cache(name, kind):
    case = Case(name, "blocks", steps=4)
    with case.steerer.attached(case.pipe):
        case.denoiser.enable_cache(CACHES[kind](case.pipe))
        with pytest.raises(MemoryError):
            case.draw(callback_on_step_end=die)
    assert torch.equal(case.draw(), under_cache(name, kind))


@works("Caches", "Attaching under an enabled cache", "an error: disable the cache, attach, enable it again", "flux")
@pytest.mark.parametrize("kind", [*CACHES, "applied"])
def test_attaching_under_a_cache(name, kind):
    case = Case(name)
    if kind == "applied":
        apply_first_block_cache(case.denoiser, FirstBlockCacheConfig())
    else:
        case.denoiser.enable_cache(CACHES[kind](case.pipe))
    with pytest.raises(dsas.InputError, match=r"cache is enabled on this FluxTransformer2DModel.*disable_cache"):
        case.steerer.attach(case.pipe)
    assert_clean(case.pipe)


@works("Caches", "FasterCache that skips the unconditional half", "an error in the first step that skips it", "sd3")
def test_a_cache_that_skips_rows(name):
    case = Case(name, steps=4)
    plain = pictures_of(name, steps=4)[0]
    config = FasterCacheConfig(
        unconditional_batch_skip_range=2, unconditional_batch_timestep_skip_range=(-1, 1001),
        spatial_attention_timestep_skip_range=(-2, -1), current_timestep_callback=lambda: 500,
        attention_weight_callback=lambda module: 0.5, tensor_format="BCHW",
        _unconditional_conditional_input_kwargs_identifiers=(
            "hidden_states", "encoder_hidden_states", "timestep", "pooled_projections"
        ),
    )  # fmt: skip
    with case.steerer.attached(case.pipe):
        apply_faster_cache(case.denoiser, config)
        with pytest.raises(dsas.InputError, match=r"runs with 2 rows, but the denoiser was called with 4"):
            case.draw()
    assert_clean(case.pipe)
    for hook in ("faster_cache_denoiser", "faster_cache_block"):
        case.denoiser._diffusers_hook.remove_hook(hook)
    assert torch.equal(case.draw(), plain)


# Callbacks, interrupts, exceptions, threads


def die(*_: object) -> dict:
    raise MemoryError


@works("Calls", "`set_strength` from `callback_on_step_end`", "counts from the next step on", "sd flux sd3")
def test_strength_from_a_callback(name):
    case = Case(name, steps=3)
    plain = case.draw()
    seen: dict[str, list[torch.Tensor]] = {"whole": [], "later": []}

    def look(which: str, attachment) -> Callable:
        def callback(pipe, step, timestep, given):
            seen[which].append(given["latents"].clone())
            if which == "later":
                attachment.set_strength(STRENGTH if step == 0 else 0.0)
            return {}

        return callback

    with case.steerer.attached(case.pipe, 0.0) as attachment:
        assert torch.equal(case.draw(callback_on_step_end=look("whole", attachment)), plain)
        case.draw(callback_on_step_end=look("later", attachment))
    same = [torch.equal(*both) for both in zip(*seen.values(), strict=True)]
    assert same == [True, False, False]


@works(
    "Calls",
    "`interrupt` from a callback, and the same pipeline afterwards",
    "the next run starts afresh",
    "sd sd3 flux",
)
def test_interrupts(name):
    case = Case(name, steps=4)

    def interrupt(pipe, step, timestep, given):
        pipe._interrupt = step == 1
        return {}

    plain, steered = pictures_of(name, steps=4)
    with case.steerer.attached(case.pipe):
        assert not torch.equal(case.draw(callback_on_step_end=interrupt), steered)
        assert torch.equal(case.draw(), steered)
    assert torch.equal(case.draw(), plain)


@works("Calls", "One pipeline, used again after an exception", "the next run starts afresh, steered or detached",
       "sd flux sdxl sd3 zimage lumina2")  # fmt: skip
def test_used_again_after_an_exception(name):
    case = Case(name)
    plain, steered = pictures_of(name)
    with case.steerer.attached(case.pipe):
        with pytest.raises(MemoryError):
            case.draw(["third", *PROMPTS], callback_on_step_end=die)
        assert torch.equal(case.draw(), steered)
    with pytest.raises(MemoryError), case.steerer.attached(case.pipe):
        case.draw(callback_on_step_end=die)
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), plain)


@works("Calls", "Two threads, each with its own pipeline and one steerer", "the pictures of one thread", "sd flux")
def test_two_threads(name):
    plain, steered = pictures_of(name, steps=4)
    cases, start = [Case(name, steps=4) for _ in range(2)], threading.Barrier(2)
    found: dict[int, list[torch.Tensor]] = {0: [], 1: []}

    def work(number: int) -> None:
        start.wait()
        for _ in range(3):
            with cases[number].steerer.attached(cases[number].pipe, STRENGTH * number):
                found[number].append(cases[number].draw())

    threads = [threading.Thread(target=work, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [torch.equal(picture, plain) for picture in found[0]] == [True] * 3
    assert [torch.equal(picture, steered) for picture in found[1]] == [True] * 3


@works("Calls", "`from_pipe`: two pipelines that share a denoiser",
       "attach to the one that draws; a run of the other is an error", "sd sd3")  # fmt: skip
def test_pipelines_that_share_a_denoiser(name):
    case = Case(name)
    plain, steered = pictures_of(name)
    first = case.pipe
    case.pipe = type(first)(**first.components)
    case.pipe.set_progress_bar_config(disable=True)
    with case.steerer.attached(first), pytest.raises(dsas.InputError, match="runs for another pipeline"):
        case.draw()
    assert_clean(first)
    assert torch.equal(case.draw(), plain)
    with case.steerer.attached(case.pipe):
        assert torch.equal(case.draw(), steered)


# What can't work


@works("Errors", "λ for another number of prompts", "an error in the first call", "sd flux sd3")
def test_strengths_of_the_wrong_length(name):
    case = Case(name)
    with case.steerer.attached(case.pipe, [1.0, 2.0, 3.0]) as attachment:
        with pytest.raises(dsas.InputError, match=r"strength has 3 numbers, but the pipeline runs 2 pictures at once"):
            case.draw()
        attachment.set_strength([STRENGTH, STRENGTH])
        assert torch.equal(case.draw(), pictures_of(name)[1])
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), pictures_of(name)[0])


@works("Errors", "A site that never runs, such as one of a block that is skipped",
       "an error in the first call, and in `fit`", "wan ltx")  # fmt: skip
@pytest.mark.parametrize("steps", [1, 2])
def test_a_site_that_never_runs(name, steps):
    case = Case(name, steps=steps)
    blocks = "blocks" if name == "wan" else "transformer_blocks"
    plain = case.draw()
    with case.steerer.attached(case.pipe):
        apply_layer_skip(case.denoiser, LayerSkipConfig([1], blocks))
        with pytest.raises(dsas.InputError, match=rf"never ran, the first of them {blocks}\.1\.attn"):
            case.draw()
    assert_clean(case.pipe)
    assert not torch.equal(case.draw(), plain)
    with pytest.raises(dsas.InputError, match=rf"{blocks}\.1\.attn.* never ran"):
        fit(case.pipe, generation=case.family.generation)
    getattr(case.denoiser, blocks)[1]._diffusers_hook.remove_hook("layer_skip_hook")
    assert torch.equal(case.draw(), plain)


@works("Errors", "A module that another one has taken the place of", "an error in the next run", "sd flux")
def test_a_module_that_is_replaced(name):
    case = Case(name)
    path = next(iter(case.steerer.sites))
    parent, _, key = path.rpartition(".")
    module = case.site
    other = Case(name).denoiser.get_submodule(path)
    with case.steerer.attached(case.pipe):
        case.draw()
        setattr(case.denoiser.get_submodule(parent), key, other)
        with pytest.raises(dsas.InputError, match=rf"never ran, the first of them {path}"):
            case.draw()
    assert_clean(case.pipe)
    assert "dsas_steering" not in module._diffusers_hook.hooks
    assert torch.equal(case.draw(), pictures_of(name)[0])


@works("Errors", "Latents that change their size during a run", "an error in the next call", "sd sd3")
def test_latents_that_change_their_size(name):
    case = Case(name)

    def cut(pipe, step, timestep, given):
        return {"latents": given["latents"][..., :-2]}

    with case.steerer.attached(case.pipe), pytest.raises(dsas.InputError, match="changed their shape"):
        case.draw(callback_on_step_end=cut)
    assert_clean(case.pipe)
    with case.steerer.attached(case.pipe):
        assert torch.equal(case.draw(), pictures_of(name)[1])


@works("Errors", "Attaching twice", "an error that leaves the first as it is", "sd flux")
def test_attaching_twice(name):
    case = Case(name)
    with case.steerer.attached(case.pipe):
        with pytest.raises(dsas.InputError, match="steered already"):
            case.steerer.attach(case.pipe)
        assert torch.equal(case.draw(), pictures_of(name)[1])
    assert_clean(case.pipe)


@works("Errors", "A pipeline without a denoiser, or without a scheduler", "an error when attaching", "sd sd3")
@pytest.mark.parametrize("missing", ["denoiser", "scheduler"])
def test_missing_components(name, missing):
    case = Case(name)
    denoiser = case.denoiser
    setattr(case.pipe, case.family.denoiser if missing == "denoiser" else missing, None)
    with pytest.raises(dsas.InputError, match=f"There is no {missing}"):
        case.steerer.attach(case.pipe)
    case.pipe = Case(name).pipe
    assert not denoiser._forward_pre_hooks


@works("Errors", "A steerer of another model, or a site that this one lacks", "an error when attaching", "sd flux")
def test_another_model(name):
    case = Case(name)
    other = Case("flux" if name == "sd" else "sd")
    with pytest.raises(dsas.InputError, match="fitted on another model"):
        case.steerer.attach(other.pipe)
    assert_clean(other.pipe)
