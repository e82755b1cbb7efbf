"""Any open_clip model: by name and weights, from the hub or from a local folder."""

import difflib
import os
from typing import Any

import torch

from ..errors import InputError


def load_open_clip(
    name: str, pretrained: str | None = None, device: str | torch.device = "cpu"
) -> tuple[torch.nn.Module, Any, Any]:
    """Load a model through open_clip.

    Args:
        name: A model name with its weights (`"ViT-B-32:laion2b_s34b_b79k"`, or the weights as `pretrained`), a
            repository on the hub (`"hf-hub:owner/name"`), or a local folder with `open_clip_config.json` and weights
            (a path, with or without `local-dir:` before it).
        pretrained: A weights tag of open_clip's, or a path to a weights file.
        device: Where the model goes.

    Returns:
        The model in evaluation mode, its preprocessing of PIL images, and its tokenizer.

    Raises:
        InputError: If there is no such model, or it can't be loaded.
    """
    import open_clip  # seconds to import, so only for those who load a model by name

    source, tag = _resolve(name, pretrained, open_clip)
    try:
        model, preprocess = open_clip.create_model_from_pretrained(source, pretrained=tag, device=device)
        tokenizer = open_clip.get_tokenizer(source)
    # open_clip, safetensors, torch and the hub each raise their own kinds; here they all mean the same.
    except Exception as error:
        raise InputError(
            f"Can't load the CLIP model {name!r}: {type(error).__name__}: {error}. Accepted are an open_clip model "
            "with its weights (ViT-B-32:laion2b_s34b_b79k), hf-hub:owner/name (needs the network once), or a folder "
            "with open_clip_config.json and open_clip_model.safetensors."
        ) from error
    return model.eval(), preprocess, tokenizer


def _resolve(name: str, pretrained: str | None, open_clip: Any) -> tuple[str, str | None]:
    """Turn what people write into what open_clip takes: the model's name or schema, and the weights' tag."""
    bare = name.removeprefix("local-dir:")
    if os.path.isdir(bare):
        if not os.path.isfile(os.path.join(bare, "open_clip_config.json")):
            raise InputError(
                f"The folder {bare} holds no open_clip_config.json, so it is no open_clip model. Name the folder "
                "that does."
            )
        return f"local-dir:{bare}", None
    if name.startswith(("hf-hub:", "local-dir:")):
        if bare != name:
            raise InputError(f"There is no folder {bare!r} to load a CLIP model from. Check the path.")
        return name, None
    model, _, tag = name.partition(":")
    tag = pretrained or tag
    known = open_clip.list_models()
    if model not in known:
        close = difflib.get_close_matches(model, known, n=1)
        raise InputError(
            f"{name!r} is neither a folder nor a model that open_clip "
            f"knows.{f' Did you mean {close[0]!r}?' if close else ''} Accepted are a folder with "
            "open_clip_config.json, hf-hub:owner/name, or a name of open_clip.list_models()."
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not tag or not (tag in tags or os.path.isfile(tag)):
        raise InputError(
            f"The CLIP model {model!r} needs its weights{f', and there are none called {tag!r}' if tag else ''}: write "
            f"{model}:TAG with one of {', '.join(tags) or 'no tags known'}, or {model}:PATH with a weights file."
        )
    return model, tag
