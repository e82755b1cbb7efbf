"""fit(): record source, target and control, then learn a gate and a map for every site."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, cross_val_predict
from tqdm import tqdm

from .backends.diffusion import generate
from .core.registry import settings_of
from .errors import InputError
from .gates.base import GATES, Gate, Samples
from .gates.logistic import LogisticGate
from .hooks.attachment import SteeredSite, checked_strength
from .hooks.fingerprint import fingerprint
from .hooks.guidance import conditional_rows, denoiser_of
from .hooks.recorder import ActivationRecorder
from .hooks.sites import Site, find_sites
from .hooks.steerer import Steerer
from .hooks.storage import part_of
from .methods.base import METHODS, SteeringMethod
from .prompts import PromptSet, load_prompts

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

Weighting = Literal["accuracy", "threshold"]


def fit(
    pipe: "StableDiffusionPipeline",
    prompts: PromptSet | str,
    *,
    method: str | SteeringMethod = "caa",
    gate: str | Gate = "calibrated",
    sites: str | Sequence[str] = "auto",
    weighting: Weighting = "accuracy",
    tau: float = 0.75,
    strength: float = 1.0,
    seed: int = 0,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Steerer:
    """Learn to suppress one concept in a pipeline's pictures.

    Draws the set's source, target and control prompts once, unsteered, with hooks that average each site's
    activations over the picture; a sample is one (prompt, denoising step). Then, site by site: the method learns the
    map from source to target, the gate learns source against control, and a classifier cross-validated over prompts
    says how far the site can be trusted. The pipeline is left as it was, whatever happens.

    Args:
        pipe: A text-to-image pipeline with a U-Net, uncompiled.
        prompts: A prompt set, or what `load_prompts` takes.
        method: Name in `METHODS`, or an instance whose settings are used at every site.
        gate: Name in `GATES`, or an instance whose settings are used at every site.
        sites: A preset, a pattern, or several (see `hooks.sites.find_sites`).
        weighting: The site weight s from the accuracy a: `"accuracy"` for max(0, 2a − 1), `"threshold"` for 1 if a ≥ τ,
            else 0. The gate `always` has weight 1 everywhere.
        tau: τ in [0.5, 1]. Sites below it are left alone, under either weighting.
        strength: λ that the steerer uses where none is given.
        seed: First seed. Source and target twins share theirs; control prompts have others.
        batch_size: Prompts a pipeline call.
        generation: Sampling settings; by default the pipeline's own.
        progress: Show a bar with the time left.

    Returns:
        The steerer.

    Raises:
        InputError: If a name is unknown, the set is one-sided, no site can be trusted, an activation is not finite,
            or the pipeline is not supported.
    """
    began = time.monotonic()
    concept = load_prompts(prompts) if isinstance(prompts, str) else prompts
    make_method, make_gate = _maker(METHODS, method), _maker(GATES, gate)
    denoiser = denoiser_of(pipe)
    chosen = find_sites(denoiser, sites)
    _check_settings(concept, make_method(), weighting, tau)
    checked_strength(strength)
    recorded = _record(pipe, concept, chosen, seed, batch_size, generation, progress)
    fitted = []
    for site in chosen:
        source, target, control = (recorded[group][site.path] for group in ("source", "target", "control"))
        learned_gate = make_gate().reset(site.channels)
        learned_method = make_method().reset(site.channels)
        accuracy = cross_validated_accuracy(learned_gate, source, control)
        learned_method.fit(source.pooled, target.pooled)
        learned_gate.fit(source, control)
        weight = _weight(accuracy, weighting, tau) if learned_gate.weighted else 1.0
        fitted.append(SteeredSite(site, learned_gate, learned_method, weight, accuracy))
    kept = _trusted(fitted, tau, concept)
    return Steerer(
        kept,
        {
            "model": fingerprint(denoiser, [s.site for s in kept]),
            "concept": {"label": concept.concept.label, "text": concept.concept.text},
            "method": part_of(kept[0].method),
            "gate": part_of(kept[0].gate),
            "strength": float(strength),
            "generation": dict(generation or {}),
            "prompts": {"name": concept.name, "digest": concept.digest},
            "fit": {
                "seconds": round(time.monotonic() - began, 2),
                "seed": seed,
                "samples": {group: len(next(iter(sites.values())).pooled) for group, sites in recorded.items()},
                "weighting": weighting,
                "tau": tau,
                "accuracy": {s.site.path: s.accuracy for s in fitted},
            },
        },
    )


def cross_validated_accuracy(gate: Gate, source: Samples, control: Samples, folds: int = 4) -> float:
    """Share of samples whose side the classifier of a gate finds, on prompts that it has not seen.

    Folds are grouped by prompt, and the PCA is learned inside each fold. A gate that is no classifier is measured
    with the paper's.

    Args:
        gate: The gate of the site.
        source: Samples that show the concept.
        control: Samples that don't.
        folds: At most the number of prompts of the smaller side.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: If an activation is not finite.
    """
    pooled = torch.cat([source.pooled, control.pooled])
    if not torch.isfinite(pooled).all():
        raise InputError(
            "Recorded activations hold NaN or infinite values, so no gate can be learned. Look at the pictures that "
            "the pipeline draws for these prompts; load it in float32 or bfloat16 if it overflows in float16."
        )
    X, y = pooled.double().numpy(), np.repeat([1, 0], [len(source.pooled), len(control.pooled)])
    groups = torch.cat([source.prompts, control.prompts + 1 + source.prompts.max()]).numpy()
    smaller = min(len(torch.unique(source.prompts)), len(torch.unique(control.prompts)))
    classifier = (gate if isinstance(gate, LogisticGate) else LogisticGate()).classifier(len(X) // 2, X.shape[1])
    predicted = cross_val_predict(classifier, X, y, groups=groups, cv=GroupKFold(max(2, min(folds, smaller))))
    return float((predicted == y).mean())


def _maker(registry: Any, chosen: Any) -> Any:
    if isinstance(chosen, str):
        return registry[chosen]
    return lambda: type(chosen)(**settings_of(chosen))


def _check_settings(concept: PromptSet, method: SteeringMethod, weighting: str, tau: float) -> None:
    if weighting not in ("accuracy", "threshold"):
        raise InputError(f"weighting must be 'accuracy' or 'threshold', but is {weighting!r}.")
    if not 0.5 <= tau <= 1:
        raise InputError(f"tau must be between 0.5 (chance) and 1, but is {tau}. The paper uses 0.75.")
    if method.needs_target and not concept.target:
        raise InputError(
            f"The method {method.name!r} moves source activations towards target ones, but the prompt set "
            f"{concept.name!r} has no target prompts. Add the same scenes without the concept as target prompts."
        )
    if min(len(concept.source), len(concept.control)) < 2:
        raise InputError(
            f"The prompt set {concept.name!r} has {len(concept.source)} source and {len(concept.control)} control "
            "prompts; a gate needs at least 2 of each, and works well from 32."
        )


def _record(
    pipe: "StableDiffusionPipeline",
    concept: PromptSet,
    sites: Sequence[Site],
    seed: int,
    batch_size: int,
    generation: Mapping[str, Any] | None,
    progress: bool,
) -> dict[str, dict[str, Samples]]:
    recorded = {}
    groups = {"source": seed, "target": seed, "control": seed + len(concept.source)}
    total = sum(len(concept.texts(group)) for group in groups)
    with tqdm(total=total, desc=f"fit {concept.name}", unit="picture", disable=not progress) as bar:
        for group, first in groups.items():
            texts = concept.texts(group)
            recorder = ActivationRecorder(
                denoiser_of(pipe), sites, lambda rows: conditional_rows(pipe, rows), seed=seed
            )
            with recorder:
                done = 0
                settings = {**(generation or {}), "output_type": "latent"}
                seeds = range(first, first + len(texts))
                for latents in generate(pipe, texts, seeds, batch_size=batch_size, generation=settings):
                    recorder.end_batch(range(done, done + len(latents)))
                    done += len(latents)
                    bar.update(len(latents))
            recorded[group] = recorder.samples()
    return recorded


def _weight(accuracy: float, weighting: Weighting, tau: float) -> float:
    if accuracy < tau:
        return 0.0
    return max(0.0, 2 * accuracy - 1) if weighting == "accuracy" else 1.0


def _trusted(fitted: list[SteeredSite], tau: float, concept: PromptSet) -> list[SteeredSite]:
    kept = [s for s in fitted if s.weight > 0]
    if not kept:
        best = sorted(fitted, key=lambda s: -s.accuracy)[:5]
        shown = ", ".join(f"{s.site.path} {s.accuracy:.2f}" for s in best)
        raise InputError(
            f"No site tells the source prompts of {concept.name!r} from its control prompts with an accuracy of "
            f"tau={tau} or more, so a steerer would do nothing. The best sites: {shown}. Check that the pictures of "
            "the source prompts show the concept and those of the control prompts don't, use more prompts or other "
            "sites, or lower tau."
        )
    return kept
