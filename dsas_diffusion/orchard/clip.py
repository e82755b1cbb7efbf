"""Orchard's CLIP: a small open_clip model of the same world, loaded by open_clip itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .tokenizer import MAX_TOKENS
from .weight_files import weights_folder
from .world import IMAGE_SIZE

if TYPE_CHECKING:
    import torch
    from open_clip import CLIP
    from open_clip.tokenizer import HFTokenizer
    from torchvision.transforms import Compose

# The names under which open_clip looks for a model in a folder.
CONFIG_FILE: Final = "open_clip_config.json"
WEIGHTS_FILE: Final = "open_clip_model.safetensors"
TOKENIZER_FILE: Final = "tokenizer.json"


class Clip(NamedTuple):
    """An open_clip model with what belongs to it; unpacks as ``model, preprocess, tokenizer``.

    Attributes:
        model: In evaluation mode.
        preprocess: From a PIL image to a (3, 64, 64) tensor.
        tokenizer: From texts to (n, 32) token ids.
    """

    model: CLIP
    preprocess: Compose
    tokenizer: HFTokenizer


def clip_config(vocabulary: int, end_token: int) -> dict[str, Any]:
    """Describe the model in open_clip's own terms: a ResNet of 2.7 M parameters and a text transformer of 0.7 M.

    Args:
        vocabulary: How many tokens there are.
        end_token: The id of the token that ends a text, at which the text is pooled.

    Returns:
        The content of ``open_clip_config.json``.
    """
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 24, "head_width": 64},
            "text_cfg": {
                "context_length": MAX_TOKENS,
                "vocab_size": vocabulary,
                "width": 128,
                "heads": 4,
                "layers": 3,
                "pool_type": "eos",
                "eos_id": end_token,
                # With `local-dir:` open_clip reads the tokenizer from the model's own folder, whatever stands here.
                "hf_tokenizer_name": "dsas-diffusion/orchard-clip",
            },
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }


def load_clip(folder: str | Path | None = None, device: str | torch.device = "cpu") -> Clip:
    """Load the committed CLIP, as ``open_clip.create_model_and_transforms("local-dir:…")`` gives it.

    Args:
        folder: Another folder that holds one; ``None`` for the committed one.
        device: Where the model computes.

    Returns:
        ``(model, preprocess, tokenizer)``.

    Raises:
        InputError: If the weights are missing or cut off.
    """
    path = weights_folder("clip", folder, (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE))
    import open_clip

    name = f"local-dir:{path}"
    model, _, preprocess = open_clip.create_model_and_transforms(name, device=device)
    return Clip(model.eval(), preprocess, open_clip.get_tokenizer(name))
