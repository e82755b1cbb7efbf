"""train(): maps of all sites, and gates if asked, learned together by gradient descent through the model."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from ..core.trainable import TrainableGate, TrainableMap
from ..errors import InputError
from ..hooks.fingerprint import fingerprint
from ..hooks.hosts import Host
from ..hooks.live import CallCatcher, CaughtCall, LiveSites
from ..hooks.steered_site import SteeredSite
from ..hooks.storage import part_of
from ..prompts import PromptSet
from .recording import Recording, run
from .training_loop import Trainer, Training

#: How many losses of a training are kept for the manifest, at most.
KEPT: Final = 50


def train(
    host: Host,
    sites: Sequence[SteeredSite],
    prompts: PromptSet,
    towards: PromptSet,
    recording: Recording,
    training: Training,
    regions: Float[Tensor, "prompts h w"] | None = None,
    cores: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> dict[str, Any]:
    """Train the maps of all sites together, in place.

    loss = n · mean over sites and their channels of  W_p^p(pooled steered source, pooled target) / σ^p
           + γ · (t' − t)² / s²  on control positions, where gates are trained

    σ is a site's spread of what is pooled, s that of single positions: with means and spreads every site weighs the
    same, however many and however large its channels. n is the number of channels of all sites together, so that one
    learning rate serves any number of them; the terms are told without it. Source and target prompts are run
    once, unsteered. Every iteration then takes the model's call on the source prompts in one denoising step and runs
    it again, steered with λ = 1 and with gradients: later sites see what earlier ones have changed, while the latents
    stay those of the unsteered pictures (ours; the published models draw in one step).

    Args:
        host: The model, uncompiled; it comes out as it went in.
        sites: What to train, from where it is.
        prompts: Whose control prompts the gates are trained on.
        towards: Whose source and target prompts the maps are trained on.
        recording: Seed, steps and sampling settings.
        training: How.
        regions: Where the concept is in the source pictures: pooled there, and at the same places of the target
            pictures; `None` to pool over the whole picture.
        cores: By site, w and θ of :func:`core.probe.core_of`: of the region, only where w · t ≥ θ is pooled.

    Returns:
        `seconds`, `iterations`, `losses` (the terms of up to 50 iterations, from the first to the last) and `touched`
        (how many channels each site's map changes).

    Raises:
        InputError: If a map or gate can't be trained, or a checkpoint is another training's.
        DivergedError: If the loss runs away.

    References:
        LinEAS, arXiv 2503.10679, section 3 and algorithm 1; E2E-DSAS, arXiv 2512.03661, whose control term and
        normalisation are not stated there and are ours.
    """
    check_trainable(sites, training)
    began = time.monotonic()
    groups = {group: (towards.texts(group), recording.seed) for group in ("source", "target")}
    if training.gates:
        groups["control"] = (prompts.texts("control"), recording.seed + len(prompts.source))
    calls = {
        group: _caught(host, *asked, replace(recording, batch_size=training.batch), group)
        for group, asked in groups.items()
    }
    with LiveSites(host.model, sites, training.gates, training.gradient_checkpointing) as live:
        trainer = Trainer(live, calls, training, regions, cores or {}, recording.seed)
        about = {
            "towards": towards.digest,
            "prompts": prompts.digest,
            "seed": recording.seed,
            "model": _known_again(host.model),
            "method": part_of(sites[0].method),
            "gate": part_of(sites[0].gate),
            "generation": recording.plain(),
            "steps": None if recording.steps is None else sorted(recording.steps),
            "regions": regions is not None,
        }
        trainer.run(about, recording.progress, ", ".join(sorted({s.method.name for s in sites})))
    kept = torch.linspace(0, len(trainer.losses) - 1, min(len(trainer.losses), KEPT)).round().int().tolist()
    return {
        "seconds": round(time.monotonic() - began, 2),
        "iterations": training.iterations,
        "losses": [trainer.losses[number] for number in kept],
        "touched": {s.site.path: s.method.touched() for s in sites if isinstance(s.method, TrainableMap)},
    }


def _known_again(model: Any) -> str:
    """Name a model by its class, architecture and some of its weights."""
    told = {key: value for key, value in fingerprint(model, []).items() if key not in ("id", "revision")}
    return f"{told['class']} {hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]}"


def check_trainable(sites: Sequence[SteeredSite], training: Training) -> None:
    """Refuse what gradients don't reach.

    Args:
        sites: What would be trained.
        training: How.

    Raises:
        InputError: If a map can't be trained, or a gate is to be and can't.
    """
    for s in sites:
        if not isinstance(s.method, TrainableMap):
            raise InputError(
                f"The method {s.method.name!r} can't be trained end to end, since its map follows no parameters. Take "
                "lineas, or another affine map such as linear_act."
            )
        if training.gates and not (isinstance(s.gate, TrainableGate) and s.gate.trains and not s.reads):
            raise InputError(
                f"The gate {s.gate.name!r} can't be trained with the maps: gradients don't reach all that it has "
                "learned, or it reads another site. Take gate='logistic' (sigmoid) or gate='relu'; or leave gates at "
                "False, and the gate is learned offline."
            )


def _caught(host: Host, texts: Sequence[str], first: int, recording: Recording, group: str) -> list[list[CaughtCall]]:
    """Run prompts, and keep each batch's calls in recorded steps."""
    size = recording.batch_size
    seeds = range(first, first + len(texts))
    batches: list[list[CaughtCall]] = []
    with tqdm(total=len(texts), desc=f"draw {group}", unit="prompt", disable=not recording.progress) as bar:
        for start in range(0, len(texts), size):
            part = slice(start, start + size)
            with CallCatcher(host) as catcher:
                for _ in run(host, texts[part], seeds[part], recording, "latent"):
                    pass
            batches.append([c for c in catcher.calls if recording.steps is None or c.step in recording.steps])
            bar.update(len(seeds[part]))
    return batches
