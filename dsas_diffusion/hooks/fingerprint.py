"""Which model a steerer was fitted on, and the first difference from another."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from torch import Tensor
from transformers import PreTrainedModel

from ..errors import InputError
from .sites import Site, all_sites
from .text_encoders import TextEncoders

#: How many tensors' values are kept, and how many of each.
_TENSORS, _VALUES = 16, 4
#: Within this share two values are the same: half precision of either kind rounds by less.
_ROUNDING: Final = 2**-7
#: Parts of names that adapters bring along: LoRA's matrices and vectors, IP-Adapter's attention and way in.
_ADAPTERS: Final = ("lora_", ".processor.", "image_proj")
#: How a language model's first token embeddings are called.
_EMBEDDINGS: Final = "token embeddings"
#: Settings that say where weights come from and how they are kept, not what the model is.
_PASSING: Final = frozenset({"quantization_config", "transformers_version", "architectures", "dtype", "torch_dtype"})
_IN_CACHE: Final = re.compile(r"models--([^/\\]+)[/\\]snapshots[/\\]([0-9a-f]{40})\b")


def fingerprint(model: Any, sites: Sequence[Site]) -> dict[str, Any]:
    """Describe a model well enough to recognise it.

    Args:
        model: A denoiser, or a pipeline's text encoders.
        sites: The sites that are steered.

    Returns:
        `class`, `id` and `revision` (of the hub repository that it was loaded from, as far as known), `config`
        (architecture settings by name), `config_digest` (SHA-256 over them), `weights` (a few values by parameter name,
        see :func:`weights_of`) and `sites`.
    """
    config = _config_of(model)
    name, revision = _origin(_source(model))
    return {
        "class": _class_of(model),
        "id": name,
        "revision": revision,
        "config": config,
        "config_digest": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "weights": weights_of(model),
        "sites": [asdict(site) for site in sites],
    }


def _class_of(model: Any) -> str:
    return model.classes if isinstance(model, TextEncoders) else type(model).__name__


def _source(model: Any) -> str:
    """Where a model was loaded from."""
    if isinstance(model, TextEncoders):
        return next((found for part in model.values() if (found := getattr(part, "name_or_path", ""))), "")
    if isinstance(model, PreTrainedModel):
        return model.name_or_path
    return str(model.config.get("_name_or_path") or "")


def _config_of(model: Any) -> dict[str, Any]:
    if isinstance(model, TextEncoders):
        settings = {name: part.config.to_diff_dict() for name, part in model.items()}
        config = {f"{name}.{key}": value for name, own in settings.items() for key, value in own.items()}
    elif isinstance(model, PreTrainedModel):
        config = model.config.to_diff_dict()
    else:
        config = dict(model.config)
    named = ((key, key.rpartition(".")[2], value) for key, value in config.items())
    kept = {key: value for key, name, value in named if name not in _PASSING and not name.startswith("_")}
    return json.loads(json.dumps(kept, sort_keys=True, default=str))


def _origin(source: str) -> tuple[str, str]:
    """Hub id and commit, read off where a model was loaded from; pipelines hand on a folder of the hub's cache."""
    if cached := _IN_CACHE.search(source):
        return cached[1].replace("--", "/", 1), cached[2]
    return "" if not source or Path(source).exists() or Path(source).is_absolute() else source, ""


def weights_of(model: Any) -> dict[str, list[float]]:
    """Give a few values of a model's biases and norms, by which its weights are known again.

    Of its own one-dimensional parameters only, and of a language model's token embeddings: they are small, adapters
    such as LoRA leave them alone even when fused, and quantisation does too. Those that are not in memory (offloaded by
    accelerate) or have under 16 bits are left out.

    Args:
        model: A denoiser, or a pipeline's text encoders.
    """
    found = _one_dimensional(model)
    names = sorted(found)
    step = max(1, len(names) // _TENSORS)
    chosen = [*names[::step][:_TENSORS], *(name for name in names if name == _EMBEDDINGS)]
    return {name: _values(found[name]) for name in chosen}


def _one_dimensional(model: Any) -> dict[str, Tensor]:
    embeddings = {}
    if isinstance(model, PreTrainedModel):
        own: Any = model.get_input_embeddings()
        embeddings |= {} if own.weight.is_meta else {_EMBEDDINGS: own.weight[:_VALUES, 0]}
    return embeddings | {
        name.replace(".base_layer.", "."): parameter  # PEFT's name for what it wraps
        for name, parameter in model.named_parameters()
        if parameter.ndim == 1
        and not any(part in name for part in _ADAPTERS)
        and parameter.is_floating_point()
        and parameter.element_size() >= 2
        and not parameter.is_meta
    }


def _values(parameter: Tensor) -> list[float]:
    step = max(1, len(parameter) // _VALUES)
    return [float(f"{value:.6g}") for value in parameter.detach()[::step][:_VALUES].float().tolist()]


def check_fingerprint(model: Any, expected: Mapping[str, Any], name: str) -> None:
    """Refuse a model that a steerer was not fitted on.

    What an older file does not say about a setting, a site or the weights is not compared.

    Args:
        model: The model to steer.
        expected: What :func:`fingerprint` gave for the model of the fit.
        name: How the steerer is called in the message.

    Raises:
        InputError: Naming the first difference: class, then a setting of the config, then a site, then the weights.
    """
    origin = f" ({' at '.join(filter(None, (expected['id'], expected.get('revision'))))})" if expected["id"] else ""
    if difference := _difference(model, expected):
        raise InputError(
            f"The steerer {name!r} was fitted on another model than this one: {difference}. Attach it to the model "
            f"it was fitted on{origin}, or fit it again on this one with `dsas_diffusion.fit`."
        )
    if difference := _other_weights(model, expected.get("weights", {})):
        raise InputError(
            f"The steerer {name!r} was fitted on other weights than these, though the architecture is the same: "
            f"{difference}. Attach it to the revision it was fitted on{origin}, or fit it again on this one with "
            "`dsas_diffusion.fit`. To try it on a relative all the same, such as a fine-tune of its base, attach "
            "`steerer.taken_to(pipe)`."
        )


def _difference(model: Any, expected: Mapping[str, Any]) -> str:
    if _class_of(model) != expected["class"]:
        return f"its class is {_class_of(model)}, not {expected['class']}"
    config = _config_of(model)
    for key, value in sorted(expected["config"].items()):
        if key.rpartition(".")[2] in _PASSING:  # older files have it
            continue
        if key not in config:
            return f"it has no setting {key}, which was {value!r} (with another version of Diffusers, perhaps)"
        if config[key] != value:
            return f"its setting {key} is {config[key]!r}, not {value!r}"
    known = {site.path: asdict(site) for site in all_sites(model)}
    for site in expected["sites"]:
        here = known.get(site["path"])
        if here is None or any(here[key] != site[key] for key in here.keys() & site.keys()):
            return f"its site {site['path']} is {here or 'missing'}, not {site}"
    return ""


def _other_weights(model: Any, expected: Mapping[str, Sequence[float]]) -> str:
    here = _one_dimensional(model)
    for name in sorted(expected.keys() & here.keys()):
        found, wanted = _values(here[name]), list(expected[name])
        same = [math.isclose(a, b, rel_tol=_ROUNDING, abs_tol=1e-6) for a, b in zip(found, wanted, strict=False)]
        if len(found) != len(wanted) or not all(same):
            return f"a few values of {name} are {found}, not {wanted}"
    return ""
