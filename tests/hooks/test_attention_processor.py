"""The wrapper around attention processors: as the module hook where both can do the job, and refusals where not."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from diffusers.hooks._helpers import AttentionProcessorRegistry
from diffusers.models.attention_processor import (
    Attention,
    AttnProcessor,
    AttnProcessor2_0,
    IPAdapterAttnProcessor2_0,
    JointAttnProcessor2_0,
    SanaLinearAttnProcessor2_0,
    SlicedAttnProcessor,
)
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from tiny import tiny_concept
from torch import nn
from torch.nn import functional as F
from zoo import FAMILIES, draw

from dsas_diffusion import AttentionMaps, DSASAttnProcessor, InputError, Steerer, fit
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.hooks.attached_concept import AttachedConcept
from dsas_diffusion.hooks.attachment import Attachment
from dsas_diffusion.hooks.attention_processor import Listening
from dsas_diffusion.hooks.call_reader import CallReader
from dsas_diffusion.hooks.guidance import denoiser_of
from dsas_diffusion.hooks.hosts import DenoiserHost
from dsas_diffusion.hooks.live import CallCatcher, LiveSites
from dsas_diffusion.hooks.recorder import ActivationRecorder
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.hooks.steered_site import SteeredSite
from dsas_diffusion.methods.base import METHODS

PROMPTS = ["zzz zuzu", "eee oror"]
SINGLE = "single_transformer_blocks.0.attn"
MIDDLE = "mid_block.attentions.0.transformer_blocks.0.attn2"
AGAIN = "attach again"
INSIDE = ["flux", *(pytest.param(name, marks=pytest.mark.full) for name in ("flux2", "chroma"))]


class Case:
    """A fresh pipeline of a family."""

    def __init__(self, name: str) -> None:
        self.family = FAMILIES[name]
        self.pipe = self.family.build()
        self.denoiser = denoiser_of(self.pipe)

    def draw(self, prompts: list[str] = PROMPTS, **settings) -> torch.Tensor:
        return draw(self.family, self.pipe, prompts, **settings)

    def fit(self, sites: str | list[str], **settings) -> Steerer:
        settings = {"gate": "always", "map_from": "pooled", "strength": 4.0, **settings}
        return fit(self.pipe, tiny_concept(), sites=sites, generation=self.family.generation, progress=False,
                   batch_size=4, **settings)  # fmt: skip

    def processors(self) -> list[object]:
        return [m.get_processor() for m in self.denoiser.modules() if hasattr(m, "get_processor")]


def same(ones: list[object], others: list[object]) -> bool:
    return all(one is other for one, other in zip(ones, others, strict=True))


# As the module hook


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("sd", "*.attn2.heads.*"),
        ("sd", "*.heads.1"),
        ("flux", "transformer_blocks.*.heads.1"),
        pytest.param("pixart_sigma", "*.attn2.heads.0", marks=pytest.mark.full),
        pytest.param("qwenimage", "*.heads.1", marks=pytest.mark.full),
        pytest.param("wan", "*.heads.0", marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("gate", ["always", "logistic"])
def test_it_draws_bit_for_bit_what_the_hook_draws(name, pattern, gate):
    case = Case(name)
    plain, before = case.draw(), case.processors()
    steerer = case.fit(pattern, gate=gate, tau=0.5)
    hooked = list(steerer.sites.values())
    inside = [replace(s, site=replace(s.site, kind="unprojected-head")) for s in hooked]
    pictures = []
    for sites in (hooked, inside):
        attachment = Attachment(DenoiserHost(case.pipe), [AttachedConcept("heads", sites, 4.0)])
        pictures.append(case.draw())
        attachment.set_strength(0.0)
        assert torch.equal(case.draw(), plain)
        attachment.detach()
        assert same(case.processors(), before)
    assert torch.equal(*pictures)
    assert (pictures[0] - plain).abs().amax() > 1e-3


# Heads without a projection of their own


@pytest.mark.parametrize("name", INSIDE)
def test_every_head_of_a_single_stream_is_a_site(name):
    case = Case(name)
    heads = [site for site in find_sites(case.denoiser, "attention-heads") if "single" in site.path]
    assert [site.path for site in heads] == [
        f"single_transformer_blocks.{i}.attn.heads.{j}" for i in range(2) for j in range(2)
    ]
    assert {(site.kind, site.channels, site.layout) for site in heads} == {("unprojected-head", 16, "tokens")}
    assert {site.module for site in heads} == {SINGLE, SINGLE.replace("0", "1")}
    assert find_sites(case.denoiser, "*.attn") == [s for s in find_sites(case.denoiser, "*.attn") if not s.is_head]


def test_recorded_heads_are_slices_of_what_the_module_hands_out():
    case = Case("flux")
    sites = find_sites(case.denoiser, [f"{SINGLE}.heads.*", SINGLE])
    with CallReader(case.pipe) as calls, ActivationRecorder(case.denoiser, sites, calls, positions=3) as recorder:
        case.draw()
        recorder.end_batch([0, 1])
    found = {site.path: samples for site, samples in zip(sites, recorder.samples().values(), strict=True)}
    whole = found[SINGLE].pooled  # FLUX's single-stream attention hands out its heads as they are
    for number in range(2):
        part = whole[:, 16 * number : 16 * (number + 1)]
        assert torch.allclose(found[f"{SINGLE}.heads.{number}"].pooled, part, atol=1e-6)
    assert part.std() > 0.01


def test_one_head_of_a_single_stream_is_steered_at_the_image_alone():
    case = Case("flux")
    steerer = case.fit(f"{SINGLE}.heads.1", strength=2.0)
    outputs: list[torch.Tensor] = []
    handle = case.denoiser.get_submodule(SINGLE).register_forward_hook(lambda m, a, out: outputs.append(out) and None)
    case.draw()
    with steerer.attached(case.pipe):
        case.draw()
    handle.remove()
    before, after = outputs[0], outputs[len(outputs) // 2]
    expected = before.clone()
    expected[:, -24:, 16:] += 2 * steerer.sites[f"{SINGLE}.heads.1"].method.shift
    assert torch.allclose(after, expected, atol=1e-5)
    assert torch.equal(after[:, :-24], before[:, :-24])
    assert torch.equal(after[..., :16], before[..., :16])
    assert not torch.allclose(after, before, atol=1e-3)


@pytest.mark.parametrize("name", INSIDE)
def test_steering_inside_leaves_no_trace(name, tmp_path):
    case = Case(name)
    plain, before, keys = case.draw(), case.processors(), list(case.denoiser.state_dict())
    wanted = ["single_transformer_blocks.*.heads.*", SINGLE]
    steerer = case.fit(wanted, gate="logistic", tau=0.5)
    assert same(case.processors(), before)
    with steerer.attached(case.pipe, 0.0):
        assert torch.equal(case.draw(), plain)
    with steerer.attached(case.pipe, record_gates=True) as run:
        steered = case.draw()
        assert list(case.denoiser.state_dict()) == keys
        with pytest.raises(InputError, match="is steered already"):
            steerer.attach(case.pipe)
    assert {tuple(maps.shape[2:]) for maps in run.gate_maps().values()} == {case.family.grid}
    assert (steered - plain).abs().amax() > 0.01
    assert same(case.processors(), before)
    assert torch.equal(case.draw(), plain)
    steerer.save_pretrained(tmp_path / "steerer")
    with Steerer.from_pretrained(tmp_path / "steerer").attached(case.pipe):
        assert torch.equal(case.draw(), steered)


def test_heads_alone_count_as_steered_already():
    case = Case("flux")
    steerer = case.fit(f"{SINGLE}.heads.0")
    with steerer.attached(case.pipe), pytest.raises(InputError, match="is steered already"):
        steerer.attach(case.pipe)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_the_processors_come_back_after_an_exception(error):
    def die(*_):
        raise error

    case = Case("flux")
    plain, before = case.draw(), case.processors()
    steerer = case.fit(f"{SINGLE}.heads.*")
    with pytest.raises(error), steerer.attached(case.pipe):
        case.draw(callback_on_step_end=die)
    with pytest.raises(error):
        fit(case.pipe, tiny_concept(), sites=f"{SINGLE}.heads.*", progress=False,
            generation={**case.family.generation, "callback_on_step_end": die})  # fmt: skip
    assert same(case.processors(), before)
    assert torch.equal(case.draw(), plain)


def test_a_call_runs_again_for_training_as_the_pipeline_ran_it():
    case = Case("flux")
    before = case.processors()
    sites = [
        SteeredSite(s, GATES["always"]().reset(s.channels), METHODS["lineas"]().reset(s.channels), 1.0, {})
        for s in find_sites(case.denoiser, ["single_transformer_blocks.*.heads.*", SINGLE])
    ]
    for steered in sites:
        steered.method.register_buffer("shift", torch.full_like(steered.method.shift, 0.3))
    with CallCatcher(DenoiserHost(case.pipe)) as catcher:
        case.draw()
    noises: list[torch.Tensor] = []
    handle = case.denoiser.register_forward_hook(lambda m, args, output: noises.append(output[0].detach()) and None)
    attachment = Attachment(DenoiserHost(case.pipe), [AttachedConcept("tiny", sites, 1.0)])
    case.draw()
    attachment.detach()
    for checkpointing in (False, True):
        shift = torch.zeros_like(sites[0].method.shift).requires_grad_()
        with LiveSites(case.denoiser, sites, checkpointing=checkpointing) as live:
            live.run(catcher.calls[0], steering=True)
            assert torch.allclose(noises[-1], noises[0], atol=1e-5)
            sites[0].method.register_buffer("shift", 0.3 + shift)
            live.run(catcher.calls[0], steering=True)[sites[-1].site.path].square().sum().backward()
        assert shift.grad.abs().min() > 0
        assert same(case.processors(), before)
    handle.remove()


@pytest.mark.full
def test_heads_inside_are_trained_end_to_end():
    case = Case("flux")
    before = case.processors()
    steerer = case.fit(f"{SINGLE}.heads.*", method="lineas")
    assert len(steerer.manifest["fit"]["training"]["losses"]) > 1
    assert same(case.processors(), before)


def test_causal_estimation_takes_the_heads_first_and_then_what_they_give():
    case = Case("flux")
    steerer = case.fit([SINGLE, f"{SINGLE}.heads.*"], estimation="causal")
    assert list(steerer.sites) == [f"{SINGLE}.heads.0", f"{SINGLE}.heads.1", SINGLE]
    at_once = case.fit([SINGLE, f"{SINGLE}.heads.*"])
    for number in range(2):
        path = f"{SINGLE}.heads.{number}"
        assert torch.equal(steerer.sites[path].method.shift, at_once.sites[path].method.shift)
    assert not torch.allclose(steerer.sites[SINGLE].method.shift, at_once.sites[SINGLE].method.shift, atol=1e-3)


# What others see of the wrapper


class Asking(AttnProcessor2_0):
    """A processor with an argument of its own, which pipelines hand on by name."""

    asked: float | None = None

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, share=None):
        self.asked = share
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


def test_arguments_reach_the_wrapped_processor():
    case = Case("sd")
    asking = Asking()
    attention = case.denoiser.get_submodule(MIDDLE)
    attention.set_processor(asking)
    with AttentionMaps(case.pipe, MIDDLE) as seen:
        assert attention.processor is not asking
        assert inspect.signature(attention.processor.__call__) == inspect.signature(asking.__call__)
        case.draw(cross_attention_kwargs={"share": 0.25})
    assert asking.asked == 0.25
    assert seen.maps()
    assert attention.processor is asking


def test_attributes_are_those_of_the_wrapped_processor():
    flux, plain = FluxAttnProcessor(), AttnProcessor2_0()
    wrapper = DSASAttnProcessor(flux)
    assert isinstance(wrapper, DSASAttnProcessor)
    wrapper._attention_backend = "native"
    assert flux._attention_backend == "native"
    assert wrapper._attention_backend == "native"
    assert not hasattr(DSASAttnProcessor(plain), "_attention_backend")
    assert AGAIN in repr(wrapper)  # which Diffusers shows where it refuses to set default processors
    assert type(wrapper).__name__ == "DSASAttnProcessor[FluxAttnProcessor]"


def test_the_registry_knows_the_wrapper_where_it_knows_the_wrapped():
    known, unknown = DSASAttnProcessor(FluxAttnProcessor()), DSASAttnProcessor(JointAttnProcessor2_0())
    assert AttentionProcessorRegistry.get(type(known)) is AttentionProcessorRegistry.get(FluxAttnProcessor)
    with pytest.raises(ValueError, match="not registered"):
        AttentionProcessorRegistry.get(type(unknown))


def test_a_backend_set_while_attached_reaches_the_wrapped_processor():
    case = Case("flux")
    own = case.denoiser.get_submodule(SINGLE).processor
    steerer = case.fit(f"{SINGLE}.heads.*")
    with steerer.attached(case.pipe):
        steered = case.draw()
        try:
            case.denoiser.set_attention_backend("_native_math")
            assert own._attention_backend.value == "_native_math"
            assert torch.allclose(case.draw(), steered, atol=1e-3)
        finally:
            case.denoiser.set_attention_backend("native")


def test_a_wrapper_that_fusing_brings_back_does_nothing():
    case = Case("sd")
    plain, before = case.draw(), case.processors()
    with AttentionMaps(case.pipe) as seen:
        case.denoiser.fuse_qkv_projections()
    case.denoiser.unfuse_qkv_projections()
    assert sum(isinstance(p, DSASAttnProcessor) for p in case.processors()) == len(seen.sites)
    assert torch.equal(case.draw(), plain)
    with AttentionMaps(case.pipe):
        assert torch.equal(case.draw(), plain)
    assert same(case.processors(), before)


# Refusals


class Twice(AttnProcessor2_0):
    """Attends to something besides the text, as an adapter does."""

    def __call__(self, attn, hidden_states, *args, **kwargs):
        output, beside = super().__call__(attn, hidden_states, *args, **kwargs), hidden_states[:, None]
        F.scaled_dot_product_attention(beside, beside, beside)
        return output


class Elsewhere(AttnProcessor2_0):
    """Says that it attends by torch's function, and doesn't."""

    def __call__(self, attn, hidden_states, *args, **kwargs):
        return hidden_states if attn.heads else F.scaled_dot_product_attention()


@pytest.mark.parametrize(
    ("processor", "says"),
    [
        (SlicedAttnProcessor(1), r"slice by slice\. Call `disable_attention_slicing\(\)` and attach again"),
        (AttnProcessor(), r"doesn't attend by .*AttnProcessor2_0\(\).*attach again"),
        (SanaLinearAttnProcessor2_0(), r"doesn't attend by .*else choose other sites"),
        (IPAdapterAttnProcessor2_0(8, 8), r"weights of its own.*Unload the adapter and attach again"),
        (DSASAttnProcessor(AttnProcessor2_0()), r"wrapped already.*`Listening`"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_processor_that_cannot_be_seen_through_is_refused(processor, says):
    with pytest.raises(InputError, match=says):
        DSASAttnProcessor(processor)


@pytest.mark.parametrize(("kind", "times"), [(Twice, 2), (Elsewhere, 0)])
def test_attending_another_number_of_times_is_an_error(kind, times):
    case = Case("sd")
    attention = case.denoiser.get_submodule(MIDDLE)
    own = kind()
    attention.set_processor(own)
    with (
        pytest.raises(InputError, match=f"attended {times} times.*choose other sites"),
        AttentionMaps(case.pipe, MIDDLE),
    ):
        case.draw()
    assert attention.processor is own


def test_attention_without_a_processor_is_refused():
    with pytest.raises(InputError, match=r"Linear at here has no attention processor.*Choose other sites"):
        Listening(nn.Linear(2, 2), "here", print)


def slicing(case: Case) -> None:
    case.pipe.enable_attention_slicing(1)


def fusing(case: Case) -> None:
    case.denoiser.fuse_qkv_projections()


def another(case: Case) -> None:
    case.denoiser.set_attn_processor(AttnProcessor2_0())


@pytest.mark.parametrize("change", [fusing, another])
def test_a_processor_that_takes_the_place_is_seen_through(change: Callable[[Case], None]):
    case = Case("sd")
    with AttentionMaps(case.pipe, "*.attn2") as seen:
        case.draw()
        before = seen.maps()
        change(case)
        found = case.processors()
        case.draw()
        assert seen.maps().keys() == before.keys()
        assert all(torch.allclose(seen.maps()[path], before[path], atol=1e-5) for path in before)
    assert same(case.processors(), found)  # what the user has set stays
    assert case.draw().isfinite().all()


def test_slicing_that_is_switched_on_is_noticed():
    case = Case("sd")
    with AttentionMaps(case.pipe, "*.attn2"):
        case.draw()
        slicing(case)
        found = case.processors()
        with pytest.raises(InputError, match=rf"attn2 can't be seen through.*slice by slice.*{AGAIN}"):
            case.draw()
    assert same(case.processors(), found)
    assert case.draw().isfinite().all()


def test_a_processor_that_takes_the_place_under_a_steerer_is_steered():
    case = Case("flux")
    plain = case.draw()
    with case.fit(f"{SINGLE}.heads.*").attached(case.pipe), AttentionMaps(case.pipe, SINGLE) as seen:
        steered = case.draw()
        own = FluxAttnProcessor()
        case.denoiser.set_attn_processor(own)
        assert torch.equal(case.draw(), steered)
        assert seen.maps()
    assert case.denoiser.get_submodule(SINGLE).processor is own
    assert torch.equal(case.draw(), plain)


def test_a_copy_of_a_wrapper_wraps_a_copy():
    wrapper = DSASAttnProcessor(AttnProcessor2_0(), "here")
    copied = copy.deepcopy(wrapper)
    assert type(copied) is type(wrapper)
    assert copied.path == "here"
    assert type(copied.wrapped) is AttnProcessor2_0
    assert copied.wrapped is not wrapper.wrapped


def test_slicing_that_is_on_is_refused():
    case = Case("sd")
    slicing(case)
    before = case.processors()
    with pytest.raises(InputError, match=rf"{MIDDLE} can't be seen through.*{AGAIN}"), AttentionMaps(case.pipe, MIDDLE):
        pass
    assert same(case.processors(), before)
    case.pipe.disable_attention_slicing()
    with AttentionMaps(case.pipe, MIDDLE) as seen:
        case.draw()
    assert seen.maps()


@pytest.mark.parametrize("when", ["before", "while attached"])
def test_a_backend_that_cannot_be_seen_through_is_refused(when):
    case = Case("flux")
    steerer = case.fit(f"{SINGLE}.heads.*")
    before = case.processors()
    attachment = None
    try:
        if when == "before":
            case.denoiser.set_attention_backend("flex")
            with pytest.raises(
                InputError, match=rf'by the backend \'flex\'.*set_attention_backend\("native"\).*{AGAIN}'
            ):
                steerer.attach(case.pipe)
        else:
            attachment = steerer.attach(case.pipe)
            case.denoiser.set_attention_backend("flex")
            with pytest.raises(InputError, match=rf"by the backend 'flex'.*{AGAIN}"):
                case.draw()
            attachment.detach()
    finally:
        case.denoiser.set_attention_backend("native")
    assert same(case.processors(), before)
    with steerer.attached(case.pipe):
        case.draw()


def test_default_processors_are_refused_by_diffusers_itself():
    case = Case("sd")
    before = case.processors()
    with AttentionMaps(case.pipe), pytest.raises(ValueError, match="attention processors are of type"):
        case.denoiser.set_default_attn_processor()
    assert same(case.processors(), before)


def test_a_wrapper_made_anew_is_a_processor_made_anew():
    """As by the loader of IP-Adapters, which makes each processor that it doesn't replace again by its class."""
    wrapper = DSASAttnProcessor(AttnProcessor2_0())
    assert type(wrapper.__class__()) is AttnProcessor2_0


def test_fitting_inside_a_processor_that_cannot_be_seen_through_leaves_the_model_alone():
    case = Case("flux")
    plain = case.draw()
    module = case.denoiser.get_submodule("single_transformer_blocks.1.attn")
    own = module.processor
    module.set_processor(SlicedAttnProcessor(1))
    before = case.processors()
    with pytest.raises(InputError, match="can't be seen through"):
        case.fit("single_transformer_blocks.*.heads.*")
    with (
        pytest.raises(InputError, match="can't be seen through"),
        LiveSites(
            case.denoiser,
            [
                SteeredSite(s, GATES["always"]().reset(s.channels), METHODS["lineas"]().reset(s.channels), 1.0, {})
                for s in find_sites(case.denoiser, "single_transformer_blocks.*.heads.*")
            ],
        ),
    ):
        pass
    assert same(case.processors(), before)
    assert all(parameter.requires_grad for parameter in case.denoiser.parameters())
    module.set_processor(own)
    assert torch.equal(case.draw(), plain)


def test_attention_of_older_diffusers_has_heads_inside():
    attention = Attention(8, heads=2, dim_head=4, pre_only=True)
    assert [(s.kind, s.module) for s in find_sites(nn.Sequential(attention), "attention-heads")] == [
        ("unprojected-head", "0")
    ] * 2
