"""LoRAs with random weights, as files of them name their layers, and a model into which they are merged by hand."""

from functools import cache
from zlib import crc32

import torch
from torch import nn

from compatibility.case import Case

#: The layers that it takes, in every attention module.
LAYERS = (".to_q", ".to_k", ".to_v", ".to_out.0")
RANK = 2


def load(case: Case, name: str = "style") -> None:
    case.pipe.load_lora_weights(lora(case, name), adapter_name=name)


def lora(case: Case, name: str = "style") -> dict[str, torch.Tensor]:
    """What `load_lora_weights` takes: the two factors of every layer's change, which follow from the LoRA's name."""
    found = {}
    for path, layer in layers(case):
        generator = torch.Generator().manual_seed(crc32(f"{name} {path}".encode()))
        key = f"{case.family.denoiser}.{path}"
        found[f"{key}.lora_A.weight"] = torch.randn(RANK, layer.in_features, generator=generator) / 4
        found[f"{key}.lora_B.weight"] = torch.randn(layer.out_features, RANK, generator=generator) / 4
    return found


def layers(case: Case) -> list[tuple[str, nn.Linear]]:
    """The linear layers that a LoRA changes; where one is on, those that it stands in for."""
    found = [(path, m) for path, m in case.denoiser.named_modules() if path.endswith(LAYERS)]
    return [(path, getattr(layer, "base_layer", layer)) for path, layer in found]


@cache
def pictures_with(name: str, sites: str = "auto", **scales: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What a model draws with LoRAs in its weights, each so many times: unsteered, and steered."""
    case = Case(name, sites)
    for style, scale in scales.items():
        factors = lora(case, style)
        with torch.no_grad():
            for path, layer in layers(case):
                key = f"{case.family.denoiser}.{path}"
                layer.weight += scale * factors[f"{key}.lora_B.weight"] @ factors[f"{key}.lora_A.weight"]
    plain = case.draw()
    with case.steerer.attached(case.pipe):
        return plain, case.draw()
