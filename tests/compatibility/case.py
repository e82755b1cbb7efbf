"""A pipeline of the zoo with its steerer, and what every feature is tried with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import pytest
import torch
from tiny import STRENGTH, open_steerer
from torch import nn
from zoo import FAMILIES, draw, pictures

import dsas_diffusion as dsas
from dsas_diffusion.hooks.discovery import image_index
from dsas_diffusion.hooks.guidance import denoiser_of

PROMPTS = ["zzz zuzu", "eee oror"]
HEADS = "attention-heads"
#: Presets whose sites are hooked in different ways: module outputs, leaves with weights of their own, their inputs.
KINDS = ("auto", "norms", HEADS)
#: For each file's `pytestmark`.
QUIET = [
    pytest.mark.filterwarnings("ignore:The steerer was fitted with"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated"),  # Diffusers' own call, where SDXL is in float16
]


class Case:
    """A pipeline of a family, fresh, and a steerer for it that is open everywhere."""

    def __init__(self, name: str, sites: str = "auto", steps: int = 2) -> None:
        self.family, self.steerer = FAMILIES[name], fitted(name, sites)
        self.pipe, self.steps = self.family.build(), steps
        self.settings: dict[str, object] = {}  # for every call

    @property
    def denoiser(self):
        return denoiser_of(self.pipe)

    @property
    def site(self) -> nn.Module:
        return self.denoiser.get_submodule(next(iter(self.steerer.sites.values())).site.module)

    def draw(self, prompts: list[str] = PROMPTS, **settings) -> torch.Tensor:
        return draw(self.family, self.pipe, prompts, **{"num_inference_steps": self.steps, **self.settings, **settings})

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
    return open_steerer(family.build(), sites=sites, generation={**family.generation, **pictures(family)})


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


def die(*_: object) -> dict:
    raise MemoryError


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
