"""A steerer's folder: a JSON manifest and a safetensors file, both validated before anything is built from them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from .. import __version__
from ..core.registry import settings_of
from ..errors import InputError
from ..files import atomic_folder, read_json
from ..gates.base import GATES, Gate
from ..methods.base import METHODS
from .card import PICTURE, Card, Continuation
from .sites import Site
from .steered_site import SteeredSite

MANIFEST: Final = "steerer.json"
TENSORS: Final = "steerer.safetensors"
README: Final = "README.md"
#: What a steerer's folder may hold.
FILES: Final = (MANIFEST, TENSORS, README, PICTURE)
#: The format that is written. It grows when an earlier version would misread a file, not when an entry is added that
#: it can leave aside; every format from 1 on can be read, and `tests/data` has an example of each.
FORMAT: Final = 1
#: What the fit measures at each site.
MEASURED: Final = ("accuracy", "auroc", "gate_on_source", "gate_on_control")
_KEYS: Final = {
    "model": dict,
    "concept": dict,
    "method": dict,
    "gate": dict,
    "strength": (int, float),
    "generation": dict,
    "prompts": dict,
    "towards": (dict, type(None)),
    "fit": dict,
    "sites": list,
}
_MODEL_KEYS: Final = {"class": str, "id": str, "config": dict, "sites": list}
_PROMPTS_KEYS: Final = {"name": str, "digest": str}
_CARD_KEYS: Final = {"figures": dict, "about": str, "caption": str, "license": (str, type(None))}
_CONTINUATION_KEYS: Final = {"prompt": str, "unsteered": str, "steered": str}
_FIT_KEYS: Final = {"seconds": (int, float), "suspects": list, "control_prompts": int}
_PLACE_KEYS: Final = {"path": str, "kind": str, "channels": int, "layout": str}
_SITE_KEYS: Final = {**_PLACE_KEYS, "weight": (int, float), "measured": dict, "reads": dict}


def part_of(module: nn.Module) -> dict[str, Any]:
    """Describe a method or gate: its name and its settings."""
    return {"name": module.name, "settings": settings_of(module)}


def write(
    folder: str | Path, manifest: dict[str, Any], sites: list[SteeredSite], readme: str, card: Card, overwrite: bool
) -> Path:
    """Write a steerer's folder whole.

    Args:
        folder: Where to.
        manifest: Everything but the sites and the card.
        sites: What to do where.
        readme: The model card as text.
        card: What its maker added to it.
        overwrite: Whether an earlier steerer's folder may be replaced.

    Returns:
        The folder.

    Raises:
        InputError: If the place can't be written, or is taken.
    """
    rows = [
        {
            **asdict(s.site),
            "weight": s.weight,
            "measured": s.measured,
            "reads": {factor: asdict(site) for factor, site in s.reads.items()},
        }
        for s in sites
    ]
    tensors = {
        f"{s.site.path}/{part}.{name}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for s in sites
        for part, module in (("gate", s.gate), ("method", s.method))
        for name, tensor in module.state_dict().items()
    }
    told = {"figures": dict(card.figures), **{key: getattr(card, key) for key in ("about", "caption", "license")}}
    if card.continuations:
        told["continuations"] = [asdict(each) for each in card.continuations]
    added = {"card": told} if any(told.values()) else {}
    whole = {**manifest, **added, "library_version": __version__, "format": FORMAT, "sites": rows}
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    with atomic_folder(folder, overwrite=FILES if overwrite else False) as partial:
        save_file(tensors, partial / TENSORS, metadata={"format": "pt"})
        (partial / MANIFEST).write_text(text, encoding="utf-8")
        (partial / README).write_text(readme, encoding="utf-8")
        if card.picture is not None:
            card.picture.convert("RGB").save(partial / PICTURE)
    return Path(folder)


def read(folder: str | Path) -> tuple[dict[str, Any], list[SteeredSite], Card]:
    """Read a steerer's folder.

    Args:
        folder: As written by :func:`write`.

    Returns:
        The manifest, the sites, and what the steerer's maker added to its card.

    Raises:
        InputError: If a file is missing, cut off or of a newer format, a key is missing, a name unknown, or a tensor
            has another shape than its site.
    """
    folder = Path(folder)
    manifest = read_json(folder / MANIFEST)
    # The format first: of a newer one nothing else need be as it is here.
    _check(manifest, {"format": int, "library_version": str}, str(folder / MANIFEST))
    if manifest["format"] > FORMAT:
        raise InputError(
            f"{folder / MANIFEST} has format {manifest['format']}, but this version ({__version__}) reads up to "
            f"{FORMAT}. It was written by dsas-diffusion {manifest['library_version']}: install that version or a "
            "newer one."
        )
    if manifest["format"] < 1:
        raise InputError(f"{folder / MANIFEST} has format {manifest['format']}, but the first is 1. Save it again.")
    _check(manifest, _KEYS, str(folder / MANIFEST))
    _check(manifest["model"], _MODEL_KEYS, f"'model' in {folder / MANIFEST}")
    for place in manifest["model"]["sites"]:
        _check(place, {"path": str}, f"a site of 'model' in {folder / MANIFEST}")
    _check_weights(manifest["model"].get("weights", {}), folder / MANIFEST)
    _check(manifest["concept"], {"label": str}, f"'concept' in {folder / MANIFEST}")
    _check(manifest["prompts"], _PROMPTS_KEYS, f"'prompts' in {folder / MANIFEST}")
    _check(manifest["fit"], _FIT_KEYS, f"'fit' in {folder / MANIFEST}")
    for part in ("method", "gate"):
        _check(manifest[part], {"name": str, "settings": dict}, f"{part!r} in {folder / MANIFEST}")
    if "text" in manifest:
        _check(manifest["text"], {"tokens": str, "vocabulary": str}, f"'text' in {folder / MANIFEST}")
    tensors = _tensors(folder / TENSORS)
    sites = []
    for row in manifest["sites"]:
        _check(row, _SITE_KEYS, f"a site in {folder / MANIFEST}")
        _check(row["measured"], dict.fromkeys(MEASURED, (int, float)), f"'measured' of a site in {folder / MANIFEST}")
        site = _site(row)
        reads = {
            factor: _site(place, f"'reads' of a site in {folder / MANIFEST}") for factor, place in row["reads"].items()
        }
        gate, method = _built(GATES, manifest["gate"], folder), _built(METHODS, manifest["method"], folder)
        _sized(gate, [reads.get(factor, site).channels for factor in gate.factors], folder)
        _sized(method, [site.channels], folder)
        for part, module in (("gate", gate), ("method", method)):
            prefix = f"{site.path}/{part}."
            found = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
            _fill(module, found, f"{prefix}* in {folder / TENSORS}")
        gate = _shared(gate, [reads.get(factor, site) for factor in gate.factors], sites)
        sites.append(SteeredSite(site, gate, method, float(row["weight"]), row["measured"], reads))
    if not sites:
        raise InputError(f"{folder / MANIFEST} lists no site, so this steerer does nothing. Fit it again.")
    return manifest, sites, _card(manifest.pop("card", None), folder)


def _card(told: Any, folder: Path) -> Card:
    picture = None
    if (folder / PICTURE).is_file():
        try:
            with Image.open(folder / PICTURE, formats=("PNG",)) as opened:
                picture = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{folder / PICTURE} can't be read: {error}. Copy it again, or remove it; the steerer does without."
            ) from error
    if told is None:
        return Card(picture=picture)
    _check(told, _CARD_KEYS, f"'card' in {folder / MANIFEST}")
    rows = told.get("continuations", [])
    place = f"a continuation of 'card' in {folder / MANIFEST}"
    if not isinstance(rows, list):
        raise InputError(f"'continuations' of 'card' in {folder / MANIFEST} must be a list. Save the steerer again.")
    for row in rows:
        _check(row, _CONTINUATION_KEYS, place)
    continuations = tuple(Continuation(*(row[key] for key in _CONTINUATION_KEYS)) for row in rows)
    return Card(told["figures"], told["about"], picture, told["caption"], told["license"], continuations)


def _check_weights(found: Any, path: Path) -> None:
    rows = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(row, list) and all(isinstance(value, int | float) for value in row) for row in rows):
        raise InputError(f"'weights' of 'model' in {path} must hold lists of numbers. Save the steerer again.")


def _shared(gate: Gate, seen: list[Site], sites: list[SteeredSite]) -> Gate:
    """An earlier site's gate, if it is the same and reads the same places: such gates are asked once."""
    for earlier in sites:
        places = [earlier.reads.get(factor, earlier.site) for factor in gate.factors]
        pairs = zip(gate.buffers(), earlier.gate.buffers(), strict=True)
        if seen == places and all(torch.equal(one, other) for one, other in pairs):
            return earlier.gate
    return gate


def _site(row: Any, place: str | None = None) -> Site:
    if place:
        _check(row, _PLACE_KEYS, place)
    return Site(row["path"], row["kind"], row["channels"], row["layout"])


def _check(found: Any, wanted: dict[str, Any], place: str) -> None:
    if not isinstance(found, dict):
        raise InputError(f"{place} must hold a JSON object, but holds {type(found).__name__}. Save the steerer again.")
    for key, kind in wanted.items():
        if key not in found or not isinstance(found[key], kind) or isinstance(found[key], bool):
            raise InputError(
                f"{place} has {'a wrong' if key in found else 'no'} entry {key!r}. The file is damaged or not a "
                "steerer's: save it again with `save_pretrained`."
            )


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(f"{path} is missing. A steerer's folder holds {MANIFEST} and {TENSORS}; save it again.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} can't be read: {error}. It is damaged or cut off; copy or save it again.") from error


def _built(registry: Any, part: dict[str, Any], folder: Path) -> Any:
    try:
        with torch.device("meta"):
            return registry[part["name"]](**part["settings"])
    except (TypeError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"{folder / MANIFEST} has settings for {part['name']!r} that this version does not know or can't use: "
            f"{error}. Install the version that wrote it, or fit again."
        ) from error


def _sized(part: Any, channels: list[int], folder: Path) -> None:
    """Give a gate or method its shapes; nothing is set aside for them before the file is seen to hold such tensors."""
    try:
        with torch.device("meta"):
            part.reset(*channels)
    except (RuntimeError, OverflowError, TypeError) as error:
        raise InputError(
            f"{folder / MANIFEST} has a site of {', '.join(map(str, channels))} channels, or settings of "
            f"{part.name!r}, of which no tensor can be made. The file is damaged: save the steerer again."
        ) from error


def _fill(module: nn.Module, found: dict[str, torch.Tensor], place: str) -> None:
    for name, expected in module.state_dict().items():
        stored = found.pop(name, None)
        if stored is None:
            wrong = "is missing"
        elif stored.shape != expected.shape:
            wrong = f"has shape {tuple(stored.shape)}, not {tuple(expected.shape)}"
        elif not torch.isfinite(stored).all():
            wrong = "is not finite"
        else:
            module.register_buffer(name, stored.to(expected.dtype))
            continue
        raise InputError(f"The tensor {name} of {place} {wrong}. Save the steerer again, or fit it again.")
    if found:
        raise InputError(
            f"{place} holds an unknown tensor {sorted(found)[0]!r}. Install the version that wrote it, or fit again."
        )
