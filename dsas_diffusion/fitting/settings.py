"""What fit() is asked for: settings that can't be met are refused before anything is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch

from ..core.registry import settings_of
from ..errors import InputError
from ..gates.base import Gate
from ..hooks.sites import Site, find_sites
from ..hooks.steered_site import SteeredSite
from ..methods.base import SteeringMethod
from ..prompts import PromptSet
from .learning import MapFrom, Weighting
from .recording import Regions
from .training import check_trainable
from .training_loop import Training
from .training_state import check_free

Estimation = Literal["at_once", "causal"]


def maker(registry: Any, chosen: Any) -> Any:
    """Give what makes one method or gate a site: the class of a name, or copies of an instance's settings."""
    if isinstance(chosen, str):
        return registry[chosen]
    return lambda: type(chosen)(**settings_of(chosen))


def _check_choice(name: str, value: str, kind: Any) -> None:
    if value not in get_args(kind):
        raise InputError(f"{name} must be one of {', '.join(map(repr, get_args(kind)))}, but is {value!r}.")


def check_settings(
    prompts: PromptSet,
    towards: PromptSet,
    method: SteeringMethod,
    weighting: str,
    map_from: str,
    estimation: str,
    tau: float,
    top_k: int | None,
    positions: int,
    regions: Regions,
) -> None:
    """Refuse settings out of range, unknown choices and sets with a side missing.

    Args:
        prompts: The prompts that the gate learns from.
        towards: The prompts that the map learns from.
        method: The method, unfitted.
        weighting: As for `fit`.
        map_from: As for `fit`.
        estimation: As for `fit`.
        tau: As for `fit`.
        top_k: As for `fit`.
        positions: As for `fit`.
        regions: As for `fit`.

    Raises:
        InputError: With the first setting that can't be met.
    """
    _check_choice("weighting", weighting, Weighting)
    _check_choice("map_from", map_from, MapFrom)
    _check_choice("estimation", estimation, Estimation)
    if not 0.5 <= tau <= 1:
        raise InputError(f"tau must be between 0.5 (chance) and 1, but is {tau}. The paper uses 0.75.")
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
        raise InputError(
            f"top_k must be a whole number of sites from 1 on, or None for every site that can be trusted, but is "
            f"{top_k!r}. Start with half of the sites that `dsas inspect` lists."
        )
    if method.needs_target and not towards.target:
        raise InputError(
            f"The method {method.name!r} moves source activations towards target ones, but the prompt set "
            f"{towards.name!r} has no target prompts. Add the same scenes without the concept as target prompts."
        )
    if regions != "twins" and not callable(regions):
        raise InputError(
            f"regions must be 'twins' or a function from pictures to maps, but is {regions!r}. The default is 'twins'."
        )
    if positions < 1:
        raise InputError(f"positions must be at least 1, but is {positions}. The default is 16.")
    if min(len(prompts.source), len(prompts.control)) < 2:
        raise InputError(
            f"The prompt set {prompts.name!r} has {len(prompts.source)} source and {len(prompts.control)} control "
            "prompts; a gate needs at least 2 of each, and works well from 32."
        )


def check_twins(prompts: PromptSet) -> None:
    """Refuse a set whose targets are not the twins of its sources.

    Raises:
        InputError: If they are not.
    """
    if not prompts.twins:
        raise InputError(
            f"Where the concept is can't be read off the prompt set {prompts.name!r}, since its target prompts are not "
            "said to be the twins of its source prompts. Write the i-th target as the i-th source without the concept, "
            'in a folder whose concept.json says "twins": true; or pass a function as regions=; or choose '
            'gate="calibrated", which sees no places.'
        )


def planned_training(
    training: Training | None,
    denoiser: Any,
    sites: Sequence[Site],
    method: SteeringMethod,
    gate: Gate,
    estimation: Estimation,
) -> Training | None:
    """The training, if there is to be one; refused before anything is drawn where it can't be."""
    if training is None and not method.needs_gradients:
        return None
    training = training or Training()
    check_trainable([SteeredSite(site, gate, method, 1.0, {}) for site in sites[:1]], training)
    if estimation != "at_once":
        raise InputError(
            f"The method {method.name!r} is trained at all sites together, so that later ones see the earlier ones "
            "anyway. Leave estimation='at_once'."
        )
    if any(p.dtype not in (torch.float32, torch.float16, torch.bfloat16) for p in denoiser.parameters()):
        raise InputError(
            f"The method {method.name!r} needs gradients, which do not flow through a quantised "
            f"{type(denoiser).__name__}. Load it unquantised, in float32 or bfloat16; or take a method that is fitted "
            "without gradients, such as linear_act."
        )
    if training.gradient_checkpointing and not getattr(denoiser, "_supports_gradient_checkpointing", False):
        raise InputError(
            f"A {type(denoiser).__name__} has no gradient checkpointing. Leave gradient_checkpointing out, or give a "
            "smaller batch and accumulate more of them."
        )
    if training.checkpoints is not None:
        check_free(training.checkpoints, training.resume)
    return training


def readable(
    denoiser: Any, read: str | Mapping[str, str] | None, gate: Gate, steered: Sequence[Site]
) -> dict[str, list[Site]]:
    """The sites among which each factor's reading site is chosen; factors that read their own site are left out."""
    wanted = dict(read) if isinstance(read, Mapping) else {} if read is None else dict.fromkeys(gate.factors, read)
    unknown = sorted(wanted.keys() - set(gate.factors))
    if unknown:
        raise InputError(
            f"read names the factor {unknown[0]!r}, but the gate {gate.name!r} has {', '.join(gate.factors)}."
        )
    found = {}
    for factor, pattern in wanted.items():
        if pattern != "auto":
            found[factor] = [_one_site(denoiser, pattern)]
        elif factor == "where":
            found[factor] = find_sites(denoiser, "blocks")
        elif factor == "whether" and {site.kind for site in steered} == {"joint-attention"}:
            found[factor] = list(steered)
    return found


def _one_site(denoiser: Any, pattern: str) -> Site:
    found = find_sites(denoiser, pattern)
    if len(found) > 1:
        raise InputError(
            f"read={pattern!r} matches {len(found)} sites, but a factor is read at one. Choose one of: "
            f"{', '.join(site.path for site in found[:8])}{' …' if len(found) > 8 else ''}."
        )
    return found[0]
