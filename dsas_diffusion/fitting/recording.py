"""Draws a set's source, target and control prompts once, and records what gates and maps are learned from."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final, Literal, NamedTuple

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..backends import language
from ..backends.diffusion import encode, generate
from ..core.regions import twin_regions
from ..errors import InputError
from ..gates.base import Samples
from ..hooks.attached_concept import AttachedConcept
from ..hooks.attachment import Attachment
from ..hooks.hosts import Host, LanguageHost
from ..hooks.recorder import ActivationRecorder
from ..hooks.sites import Site, watch
from ..hooks.steered_site import SteeredSite
from ..prompts import PromptSet

#: Positions of one group to keep at one site at most, so that memory doesn't grow with steps and prompts.
POSITIONS: Final = 10_240
#: Where the concept is in the source pictures: read off twins, or told by a function from pictures to (n, h, w).
Regions = Literal["twins"] | Callable[[list[Image.Image]], Tensor]


@dataclass(frozen=True)
class Recording:
    """What to draw and what to keep of it.

    Args:
        seed: First seed. Source and target twins share theirs; control prompts have others.
        batch_size: Prompts a pipeline call.
        generation: Sampling settings.
        steps: Denoising steps to record, from 0; `None` for all.
        positions: Positions of each sample to keep, at most; fewer where a group would have over `POSITIONS` a site.
        progress: Show a bar with the time left.
    """

    seed: int
    batch_size: int
    generation: Mapping[str, Any]
    steps: Collection[int] | None
    positions: int
    progress: bool

    def plain(self) -> dict[str, Any]:
        """Give the sampling settings that a file can hold and a later run be compared by; no callbacks, no tensors."""
        return {key: value for key, value in self.generation.items() if isinstance(value, str | int | float | None)}


class Recorded(NamedTuple):
    """What was recorded.

    Args:
        groups: Samples by group (`source`, `control`, and `from` and `to` for the map) and site.
        regions: Where the concept is in the source pictures, (n, h, w) in [0, 1]; `None` if no one asked.
    """

    groups: dict[str, dict[str, Samples]]
    regions: Tensor | None


def record(
    host: Host,
    prompts: PromptSet,
    sites: Sequence[Site],
    recording: Recording,
    regions: Regions | Tensor | None,
    towards: PromptSet | None = None,
    steered: Sequence[SteeredSite] = (),
    strength: float = 1.0,
) -> Recorded:
    """Draw the groups of a set and record every site.

    Args:
        host: The model, with its pipeline; it comes out as it went in.
        prompts: The prompts.
        sites: What to record.
        recording: How.
        regions: Where the concept is in the source pictures: how to find it, or what was found before; `None` if no one
            asks.
        towards: Another set, whose source and target the map learns from; `None` for the concept's own.
        steered: What is steered already while source and control prompts are drawn; target prompts are drawn as they
            are.
        strength: λ for it.

    Returns:
        Samples, and the regions. If these are known, the samples of `source` and of its twins have `inside`; twins have
        their positions at the same places.

    Raises:
        InputError: If a function given as regions returns something else, or no step or not every site was recorded.
    """
    groups = {"source": (prompts.texts("source"), recording.seed)}
    if towards is None or regions == "twins":
        groups["target"] = (prompts.texts("target"), recording.seed)
    groups["control"] = (prompts.texts("control"), recording.seed + len(prompts.source))
    if towards is not None:
        groups |= {
            name: (towards.texts(group), recording.seed) for name, group in (("from", "source"), ("to", "target"))
        }
    most = max(len(texts) for texts, _ in groups.values()) * _steps(host, recording)
    positions = min(recording.positions, max(1, POSITIONS // most))
    recorders, pictures = {}, {}
    total = sum(len(texts) for texts, _ in groups.values())
    with tqdm(
        total=total,
        desc=f"fit {prompts.name}",
        unit="picture" if host.draws else "text",
        disable=not recording.progress,
    ) as bar:
        for group, (texts, first) in groups.items():
            output = "pil" if callable(regions) and group == "source" else "latent"
            with _steering(host, () if group in ("target", "to") else steered, strength), host.reader() as calls:
                recorders[group] = ActivationRecorder(
                    host.model,
                    sites,
                    calls,
                    positions=positions,
                    steps=recording.steps,
                    seed=recording.seed,
                    tokens=host.tokens,
                    merge=not host.draws,
                )
                drawn = _draw(host, texts, first, recorders[group], recording, output, bar)
                laid_out = host.draws and output == "latent"
                pictures[group] = [_laid_out(batch, calls.call) for batch in drawn] if laid_out else drawn
    found = None
    if isinstance(regions, Tensor):
        found = regions
    elif callable(regions):
        found = _checked(regions([image for images in pictures["source"] for image in images]), len(prompts.source))
    elif regions == "twins":
        found = twin_regions(torch.cat(pictures["source"]), torch.cat(pictures["target"])).float()
    marked = ("source", "target") if prompts.twins else ("source",)
    recorded = {group: recorders[group].samples(found if group in marked else None) for group in groups}
    if not recorded["source"] and not host.draws:
        raise InputError(
            f"No token was recorded: tokens={host.tokens!r} leaves none, since the model reads what it has made except "
            "for the last token. Ask for at least 2 with generation={'max_new_tokens': …}, and look whether it "
            "continues the source prompts at all."
        )
    if not recorded["source"]:
        raise InputError(
            f"No denoising step was recorded: steps={sorted(recording.steps or ())} names none of those that ran. "
            "Give numbers from 0 to num_inference_steps − 1."
        )
    if missed := [site.path for site in recorders["source"].sites if site.path not in recorded["source"]]:
        raise InputError(
            f"{', '.join(missed[:3])}: of the sites, {len(missed)} never ran, so nothing was "
            "recorded there. Leave them out of sites= and read=, or switch off what skips them."
        )
    own = {"from": recorded["source"], "to": recorded.get("target", {})}
    return Recorded({**recorded, **({} if towards is not None else own)}, found)


def _laid_out(latents: Tensor, call: Any) -> Float[Tensor, "pictures channels h w"]:
    """Give latents as pictures: some pipelines hand them out as a sequence, and those of videos have frames."""
    if latents.ndim == 3:
        return latents.transpose(1, 2).unflatten(2, call.grid)
    return latents.flatten(2, 3) if latents.ndim == 5 else latents


@contextmanager
def _steering(host: Host, sites: Sequence[SteeredSite], strength: float) -> Generator[None]:
    """Steer what has been learned so far, for as long as the context lasts."""
    attachment = Attachment(host, [AttachedConcept("earlier sites", sites, strength)]) if sites else None
    try:
        yield
    finally:
        if attachment is not None:
            attachment.detach()


def in_order(host: Host, sites: Sequence[Site], text: str, recording: Recording) -> list[Site]:
    """Sort sites as the model runs them, seen on one prompt.

    Args:
        host: The model, with its pipeline; it comes out as it went in.
        sites: The sites.
        text: A prompt.
        recording: Seed and sampling settings.
    """
    seen: list[str] = []
    handles = []
    try:
        for site in sites:
            handles.append(watch(host.model, site, lambda _, path=site.path: seen.append(path)))
        for _ in run(host, [text], [recording.seed], recording, "latent"):
            pass
    finally:
        for handle in handles:
            handle.remove()
    return sorted(sites, key=lambda site: seen.index(site.path))


def run(host: Host, texts: Sequence[str], seeds: Sequence[int], recording: Recording, output: str) -> Iterator[Any]:
    """Run prompts through a model as it is run for recording, a batch at a time.

    Args:
        host: The model.
        texts: The prompts.
        seeds: One per prompt.
        recording: Batch size and sampling settings.
        output: What a pipeline is to give: `"latent"` or `"pil"`.

    Yields:
        What has one entry for each prompt of a batch: pictures, latents or texts.
    """
    if isinstance(host, LanguageHost):
        if host.tokens in ("prompt", "last"):
            return language.read(host.owner, host.tokenizer, texts, batch_size=recording.batch_size, chat=host.chat)
        return language.generate(
            host.owner,
            host.tokenizer,
            texts,
            seeds[0],
            batch_size=recording.batch_size,
            generation=recording.generation,
            chat=host.chat,
        )
    settings = {**recording.generation, "output_type": output}
    through = generate if host.draws else encode
    return through(host.owner, texts, seeds, batch_size=recording.batch_size, generation=settings)


def _steps(host: Host, recording: Recording) -> int:
    """How many steps of each prompt are recorded."""
    if not host.draws:
        return 1
    default = signature(host.owner.__call__).parameters["num_inference_steps"].default
    drawn = recording.generation.get("num_inference_steps", default)
    return max(1, drawn if recording.steps is None else len(set(recording.steps) & set(range(drawn))))


def _draw(
    host: Host,
    texts: Sequence[str],
    first: int,
    recorder: ActivationRecorder,
    recording: Recording,
    output: str,
    bar: Any,
) -> list[Any]:
    drawn, done = [], 0
    seeds = range(first, first + len(texts))
    with recorder:
        for pictures in run(host, texts, seeds, recording, output):
            recorder.end_batch(range(done, done + len(pictures)))
            done += len(pictures)
            bar.update(len(pictures))
            drawn.append(pictures)
    return drawn


def _checked(found: Tensor, pictures: int) -> Tensor:
    if not isinstance(found, Tensor) or found.ndim != 3 or len(found) != pictures:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(
            f"The function given as regions returned {shape}, but one map a picture was expected: a tensor "
            f"({pictures}, height, width) in [0, 1]."
        )
    found = found.float()
    if not ((found >= 0) & (found <= 1)).all():
        raise InputError(
            f"The function given as regions returned values from {found.min():.3g} to {found.max():.3g}, but the share "
            "of the concept at each place is in [0, 1]. Apply a sigmoid to logits."
        )
    return found
