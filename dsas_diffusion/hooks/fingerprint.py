"""Which model a steerer was fitted on, and the first difference from another."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from .sites import Site, all_sites


def fingerprint(denoiser: Any, sites: Sequence[Site]) -> dict[str, Any]:
    """Describe a denoiser well enough to recognise it.

    Args:
        denoiser: A Diffusers model.
        sites: The sites that are steered.

    Returns:
        `class`, `id` (the hub id that it was loaded from, if any), `config` (architecture settings by name),
        `config_digest` (SHA-256 over them) and `sites`.
    """
    config = {key: value for key, value in dict(denoiser.config).items() if not key.startswith("_")}
    source = str(denoiser.config.get("_name_or_path") or "")
    config = json.loads(json.dumps(config, sort_keys=True, default=str))
    return {
        "class": type(denoiser).__name__,
        "id": "" if not source or Path(source).exists() or Path(source).is_absolute() else source,
        "config": config,
        "config_digest": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        "sites": [asdict(site) for site in sites],
    }


def check_fingerprint(denoiser: Any, expected: dict[str, Any], name: str) -> None:
    """Refuse a model that a steerer was not fitted on.

    Args:
        denoiser: The model to steer.
        expected: What :func:`fingerprint` gave for the model of the fit.
        name: How the steerer is called in the message.

    Raises:
        InputError: Naming the first difference: class, then a setting of the config, then a site.
    """
    found = fingerprint(denoiser, [])
    difference = ""
    if found["class"] != expected["class"]:
        difference = f"its class is {found['class']}, not {expected['class']}"
    elif found["config_digest"] != expected["config_digest"]:
        keys = sorted(found["config"].keys() | expected["config"].keys())
        key = next((k for k in keys if found["config"].get(k) != expected["config"].get(k)), None)
        difference = (
            f"its setting {key} is {found['config'].get(key)!r}, not {expected['config'].get(key)!r}"
            if key
            else "the digest of its settings differs"
        )
    else:
        known = {site.path: asdict(site) for site in all_sites(denoiser)}
        for site in expected["sites"]:
            if known.get(site["path"]) != site:
                difference = f"its site {site['path']} is {known.get(site['path'], 'missing')}, not {site}"
                break
    if difference:
        raise InputError(
            f"The steerer {name!r} was fitted on another model than this one: {difference}. Attach it to the model "
            f"it was fitted on{' (' + expected['id'] + ')' if expected['id'] else ''}, or fit it again on this one "
            "with `dsas_diffusion.fit`."
        )
