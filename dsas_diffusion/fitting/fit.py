"""fit(): record source, target and control, then learn a gate and a map for every site."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InputError
from ..gates.base import GATES, Gate, Samples
from ..gates.patch import PatchGate
from ..hooks.attached_concept import checked_strength
from ..hooks.calls import Tokens
from ..hooks.fingerprint import fingerprint
from ..hooks.hosts import host_of
from ..hooks.sites import Site, find_sites
from ..hooks.steered_site import SteeredSite
from ..hooks.steerer import Steerer
from ..hooks.storage import part_of
from ..methods.base import METHODS, SteeringMethod
from ..prompts import PromptSet, load_prompts
from .learning import Learning, MapFrom, Weighting, core_at, most_trusted, openness
from .recording import Recording, Regions, in_order, record
from .settings import Estimation, check_settings, check_twins, maker, planned_training, readable
from .texts import check_text, how_texts_ran, with_tokenizer
from .training import train
from .training_loop import Training
from .validation import cross_validated, place_auroc

#: Group of prompts → site → what was recorded there.
Groups: TypeAlias = dict[str, dict[str, Samples]]

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from transformers import PreTrainedModel


def fit(
    pipe: "DiffusionPipeline | PreTrainedModel",
    prompts: PromptSet | str,
    *,
    tokenizer: Any = None,
    tokens: Tokens = "prompt",
    chat: bool = False,
    method: str | SteeringMethod = "caa",
    gate: str | Gate = "auto",
    sites: str | Sequence[str] = "auto",
    read: str | Mapping[str, str] | None = "auto",
    regions: Regions = "twins",
    towards: PromptSet | str | None = None,
    map_from: MapFrom = "auto",
    weighting: Weighting = "accuracy",
    estimation: Estimation = "at_once",
    training: Training | None = None,
    tau: float = 0.75,
    top_k: int | None = None,
    strength: float = 1.0,
    steps: Collection[int] | None = None,
    positions: int = 16,
    seed: int = 0,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Steerer:
    """Learn to suppress one concept in a pipeline's pictures, or in what a language model writes.

    Draws (or reads) the set's source, target and control prompts once, unsteered, with hooks that average each site's
    activations over the picture or the text; a sample is one (prompt, denoising step), or one text. Then, site by site:
    the method learns the map from source to target, the gate learns source against control, and a classifier
    cross-validated over prompts says how far the site can be trusted. The pipeline is left as it was, whatever happens.

    Args:
        pipe: A text-to-image or text-to-video pipeline, or a language model of Transformers; uncompiled.
        prompts: A prompt set, or what `load_prompts` takes.
        tokenizer: The language model's, with a pad token; `None` for pipelines.
        tokens: Which tokens of a language model's texts are learned from: all of the prompt, its last one alone, where
            the model decides how to go on (as ITI and CAA do), those of what the model continues it with (as
            `generation` says), or prompt and continuation. A sample is one text.
        chat: Put a language model's prompts into the tokenizer's chat template.
        method: Name in `METHODS`, or an instance whose settings are used at every site.
        gate: Name in `GATES`, or an instance whose settings are used at every site; `"auto"` is `patch` in pictures and
            `logistic` in text encoders.
        sites: A preset, a pattern, or several (see `hooks.sites.find_sites`): where to steer, in the denoiser or in the
            text encoders. These run once, so a sample is one prompt then, and nothing is drawn.
        read: Where gates read: `None` for the site that each steers; the path or pattern of one site; or a mapping from
            a gate's factors to such. `"auto"` is `None`, but for *where*, which all sites read at the transformer block
            that tells the concept's positions best from others, and for *whether* in joint attention, which all read at
            the site that tells the concept's pictures best: later ones see what steering has done to earlier ones. A
            site that runs before the one that its gate reads is
            steered by the scores of the step before.
        regions: Where the concept is in the source pictures, for gates that learn places: `"twins"` reads it off source
            and target pictures of the same seed; a function gets the list of source pictures and returns maps
            (n, height, width) in [0, 1], such as a detector's.
        towards: Another set whose source and target the map learns from, while the gate learns from `prompts`: with
            `"orchard/blur"` the concept is blurred instead of removed. `None` for the set's own target.
        map_from: What the map learns from: `"pooled"` for averages over pictures, as in the papers; `"inside"` for the
            region and the same places of the twins, so that λ = 1 is a whole change there; `"core"` for the half of
            those places that a classifier is surest of, since regions read off twins are rough (both ours). `"auto"`
            is `"pooled"` where the region is not known, and else `"core"` with twins, `"inside"` with a function.
        weighting: The site weight s from the accuracy a: `"accuracy"` for max(0, 2a − 1), `"threshold"` for 1 if a ≥ τ,
            else 0. The gate `always` has weight 1 everywhere; sites whose gates read *whether* at one place share its
            accuracy.
        estimation: `"at_once"`: every site is learned from the same unsteered pictures. `"causal"`: site after site, as
            the denoiser runs them; source and control pictures are drawn anew for each, steered at `strength` by the
            sites before it, so that later maps and gates see the earlier ones. It takes as many times longer as there
            are sites; heads of one attention module, which run at once, count as one. Regions and reading sites are
            those of the unsteered pictures.
        training: How to train the maps of all sites end to end, through the denoiser, after what is learned at each
            site; `None` for the defaults where the method needs it (`lineas`), and else for no training. Where the
            region is known, source and target are pooled there.
        tau: τ in [0.5, 1]. Sites below it are left alone, under either weighting.
        top_k: How many sites to steer at most, 1 or more: the most accurate of those that can be trusted, the first of
            equals; `None` for all. Accuracy is that of the gate's classifier, source against control (ours; ITI ranks
            heads by a probe's accuracy). Under causal estimation the choice is made on the unsteered pictures.
        strength: λ that the steerer uses where none is given.
        steps: Denoising steps to learn from, counted from 0; `None` for all.
        positions: How many positions of each sample to keep at most, for gates and maps that learn from single ones;
            fewer where a group has so many samples that a site would hold over 10,240.
        seed: First seed. Source and target twins share theirs; control prompts have others.
        batch_size: Prompts a pipeline call, 1 or more; with guidance a call has two rows each.
        generation: Sampling settings; by default the pipeline's own. The manifest keeps those that are numbers or text.
        progress: Show a bar with the time left.

    Returns:
        The steerer.

    Raises:
        InputError: If a name is unknown, the set is one-sided, no site can be trusted, an activation is not finite,
            or the pipeline is not supported.
    """
    began = time.monotonic()
    prompts = load_prompts(prompts) if isinstance(prompts, str) else prompts
    towards = load_prompts(towards) if isinstance(towards, str) else towards
    host = with_tokenizer(
        host_of(pipe, sites), tokenizer, tokens, chat, [prompts, *([towards] if towards else [])], generation
    )
    if gate == "auto":
        gate = "patch" if host.draws else "logistic"
    make_method, make_gate = maker(METHODS, method), maker(GATES, gate)
    chosen = find_sites(host.model, sites)
    check_settings(
        prompts, towards or prompts, make_method(), weighting, map_from, estimation, tau, top_k, positions, regions
    )
    own = checked_strength(strength)
    if len(own) > 1:
        raise InputError(f"A steerer has one strength of its own, but strength is {strength!r}. Give one number.")
    unfitted = make_gate()
    if not host.draws:
        check_text(make_method(), unfitted, map_from, training, steps)
    training = planned_training(training, host.model, chosen, make_method(), unfitted, estimation)
    places = unfitted.sees_places or map_from in ("inside", "core") or (callable(regions) and map_from == "auto")
    if callable(regions) and not (places and host.draws):
        raise InputError(
            f"regions says where the concept is in pictures, but neither the gate {unfitted.name!r} nor "
            f"map_from={map_from!r} looks at places here. Leave regions out, or choose gate='patch' or "
            "map_from='inside' in pictures."
        )
    if places and regions == "twins":
        check_twins(prompts)
    if host.is_compiled():
        raise InputError(
            "Activations can't be recorded from a compiled pipeline: its hooks may be ignored. Fit before "
            "`torch.compile`."
        )
    candidates = readable(host.model, read, unfitted, chosen)
    recording = Recording(seed, batch_size, generation or {}, steps, positions, progress)
    every = list(dict.fromkeys([*chosen, *(site for found in candidates.values() for site in found)]))
    recorded, places_found = record(host, prompts, every, recording, regions if places else None, towards)
    _check_finite(recorded)
    map_from = _settled(map_from, recorded, regions)
    reads = {factor: _best_view(factor, found, recorded) for factor, found in candidates.items()}

    def steered_by(trusted: Sequence[SteeredSite], running: Sequence[Site]) -> Groups:
        seen = list(dict.fromkeys([*running, *reads.values()]))
        again, _ = record(host, prompts, seen, recording, places_found, towards, trusted, strength)
        _check_finite(again)
        return again

    learning = Learning(prompts, make_method, make_gate, reads, map_from, weighting, tau)
    if estimation == "causal":
        if top_k is not None:
            at_once = [learning.at(site, recorded)[0] for site in chosen]
            chosen = [s.site for s in most_trusted(at_once, tau, prompts, top_k)]
        chosen = in_order(host, chosen, prompts.source[0].text, recording)
    fitted, mistaken = _site_by_site(learning, chosen, recorded, steered_by if estimation == "causal" else None)
    kept = most_trusted(fitted, tau, prompts, top_k)
    votes = Counter(prompt for s in kept for prompt in mistaken[s.site.path])
    trained = None
    if training is not None:
        where = None if map_from == "pooled" else places_found
        cores = {s.site.path: core_at(s.site.path, recorded) for s in kept} if map_from == "core" else {}
        trained = train(host, kept, prompts, towards or prompts, recording, training, where, cores)
        if training.gates:
            for s in kept:
                s.measured |= openness(s.gate, recorded["source"][s.site.path], recorded["control"][s.site.path])
    return Steerer(
        kept,
        {
            "model": fingerprint(host.model, list(dict.fromkeys([*(s.site for s in kept), *reads.values()]))),
            "concept": {"label": prompts.concept.label, "text": prompts.concept.text},
            "method": part_of(kept[0].method),
            "gate": part_of(kept[0].gate),
            "strength": own[0],
            "generation": {**host.sampling(), **recording.plain()},
            "prompts": {"name": prompts.name, "digest": prompts.digest},
            **how_texts_ran(host),
            "towards": {"name": towards.name, "digest": towards.digest} if towards else None,
            "fit": {
                "seconds": round(time.monotonic() - began, 2),
                "seed": seed,
                "samples": {
                    group: len(next(iter(recorded[group].values())).pooled)
                    for group in ("source", "target", "control")
                    if group in recorded
                },
                "control_prompts": len(prompts.control),
                "suspects": [prompts.control[i].text for i, count in sorted(votes.items()) if 2 * count > len(kept)],
                "map_from": map_from,
                "weighting": weighting,
                "estimation": estimation,
                "training": trained,
                "tau": tau,
                "top_k": top_k,
                "accuracy": {s.site.path: s.measured["accuracy"] for s in fitted},
            },
        },
    )


def _site_by_site(
    learning: Learning,
    sites: Sequence[Site],
    recorded: Groups,
    steered_by: Callable[[Sequence[SteeredSite], Sequence[Site]], Groups] | None,
) -> tuple[list[SteeredSite], dict[str, list[int]]]:
    """Learn every site; under causal estimation from what `steered_by` records, steered by the sites before it.

    Returns:
        The sites, in order, and site → the control prompts that its gate takes for the concept.
    """
    fitted: list[SteeredSite] = []
    mistaken: dict[str, list[int]] = {}
    for _, together in groupby(sites, key=lambda site: site.place):  # heads of one module run at once
        running = list(together)
        trusted = [s for s in fitted if s.weight > 0]
        if steered_by is not None and trusted:
            recorded = steered_by(trusted, running)
            learning.forget()
        for site in running:
            learned, mistaken[site.path] = learning.at(site, recorded)
            fitted.append(learned)
    return fitted, mistaken


def _best_view(factor: str, candidates: Sequence[Site], recorded: Groups) -> Site:
    """The candidate that tells the concept's places, or its pictures, best from others, on prompts not seen before."""
    if len(candidates) == 1:
        return candidates[0]
    source, control = recorded["source"], recorded["control"]

    def told(site: Site) -> float:
        shown, other = source[site.path], control[site.path]
        return place_auroc(shown, other) if factor == "where" else cross_validated(PatchGate(), shown, other).auroc

    return max(candidates, key=told)


def _check_finite(recorded: Groups) -> None:
    broken = {path for samples in recorded.values() for path, s in samples.items() if not s.pooled.isfinite().all()}
    if broken:
        raise InputError(
            f"Recorded activations hold NaN or infinite values at {len(broken)} sites, such as {min(broken)}, so "
            "nothing can be learned from them. Look at the pictures that the pipeline draws for these prompts; load it "
            "in float32 or bfloat16 if it overflows in float16."
        )


def _settled(map_from: MapFrom, recorded: Groups, regions: Regions) -> MapFrom:
    """What the map learns from, `auto` decided."""
    known = all(s.inside is not None for group in ("from", "to") for s in recorded[group].values())
    if map_from in ("inside", "core") and not known:
        raise InputError(
            f"map_from={map_from!r} needs twins, to know where the concept is. Choose a prompt set whose targets are "
            "twins of its sources, without `towards`; or map_from='pooled'."
        )
    if map_from != "auto":
        return map_from
    return "pooled" if not known else "core" if regions == "twins" else "inside"
