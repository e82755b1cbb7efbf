"""IP-Adapters with random weights in the published layouts, with the image encoder that each of them needs."""

import torch
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterTimeImageProjection
from PIL import Image
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from compatibility.case import Case

WIDTH = 32  # channels of an encoded picture
TOKENS = 4
SIZES = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"image_size": 16, "patch_size": 8}
PICTURE = Image.linear_gradient("L").resize((16, 16)).convert("RGB")


def load(case: Case, seed: int = 1) -> None:
    """Load an IP-Adapter; the case then draws with a picture."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder, weights = BUILT[case.family.name](case)
    case.pipe.register_modules(**encoder)
    names = {} if case.family.name == "sd3" else {"subfolder": ""}
    case.pipe.load_ip_adapter(weights, weight_name="", **names)
    case.settings = {"ip_adapter_image": PICTURE}


def unload(case: Case) -> None:
    case.pipe.unload_ip_adapter()
    case.settings = {}


def for_a_unet(case: Case) -> tuple[dict[str, object], dict[str, dict[str, torch.Tensor]]]:
    """The text's attention gets keys and values of its own for the picture, under odd numbers."""
    paths = [path.removesuffix(".processor") for path in case.denoiser.attn_processors]
    keys = {n: case.denoiser.get_submodule(path).to_k for n, path in enumerate(paths) if path.endswith("attn2")}
    added = {
        f"{number}.{name}.weight": torch.randn_like(key.weight) / key.in_features**0.5
        for number, key in keys.items()
        for name in ("to_k_ip", "to_v_ip")
    }
    return clip(), {"image_proj": projection(case.denoiser.config.cross_attention_dim), "ip_adapter": added}


def for_flux(case: Case) -> tuple[dict[str, object], dict[str, dict[str, torch.Tensor]]]:
    config = case.denoiser.config
    width, text = config.num_attention_heads * config.attention_head_dim, config.joint_attention_dim
    added = {
        f"{number}.{name}.{part}": torch.randn(shape) / text**0.5
        for number in range(config.num_layers)
        for name in ("to_k_ip", "to_v_ip")
        for part, shape in (("weight", (width, text)), ("bias", (width,)))
    }
    return clip(), {"image_proj": projection(text), "ip_adapter": added}


def for_sd3(case: Case) -> tuple[dict[str, object], dict[str, dict[str, torch.Tensor]]]:
    """A resampler with attention of its own, and a whole processor for each attention module."""
    config = case.denoiser.config
    width, time = config.num_attention_heads * config.attention_head_dim, 64
    resampler = IPAdapterTimeImageProjection(WIDTH, width, time, heads=1, num_queries=TOKENS, timestep_in_dim=32)
    added = {}
    for number in range(len(case.denoiser.attn_processors)):
        processor = SD3IPAdapterJointAttnProcessor2_0(width, width, config.attention_head_dim, time)
        added |= {f"{number}.{name}": value for name, value in processor.state_dict().items()}
    encoder = SiglipVisionModel(SiglipVisionConfig(**SIZES)).eval()
    reader = SiglipImageProcessor(size={"height": 16, "width": 16})
    return {"image_encoder": encoder, "feature_extractor": reader}, {
        "image_proj": resampler.state_dict(),
        "ip_adapter": added,
    }


def clip() -> dict[str, nn.Module]:
    return {"image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**SIZES, projection_dim=WIDTH)).eval()}


def projection(width: int) -> dict[str, torch.Tensor]:
    """From an encoded picture to tokens as wide as the text's."""
    layer = nn.Linear(WIDTH, TOKENS * width)
    return {
        "proj.weight": layer.weight.detach(),
        "proj.bias": layer.bias.detach(),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.randn(width) / 8,
    }


BUILT = {"sd": for_a_unet, "sdxl": for_a_unet, "flux": for_flux, "sd3": for_sd3}
