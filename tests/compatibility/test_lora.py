"""LoRA on steered layers."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from works import works

import dsas_diffusion as dsas
from compatibility.case import HEADS, QUIET, Case, assert_clean, both_orders, pictures_of

pytestmark = QUIET


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
    for path in case.steerer.sites:
        attention = case.denoiser.get_submodule(path.partition(".heads.")[0])
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
       "an error in the next call: detach, load or unload it, attach again", "sd")  # fmt: skip
def test_lora_under_steered_heads(name):
    case = Case(name, HEADS)
    with case.steerer.attached(case.pipe):
        load_lora(case)
        with pytest.raises(dsas.InputError, match=r"is another module.*attach the steerer again"):
            case.draw()
    assert_clean(case.pipe)
    plain = case.draw()
    with case.steerer.attached(case.pipe):
        assert not torch.equal(case.draw(), plain)
