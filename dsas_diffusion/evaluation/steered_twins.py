"""Activations with steering beside those without: how far each position was turned and how far it was moved."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ..backends.language import check_tokenizer
from ..errors import InputError
from ..fitting.recording import Recording, run
from ..hooks.calls import Tokens
from ..hooks.hosts import Host, LanguageHost
from ..hooks.sites import Site, find_sites, watch
from ..hooks.steerer import Steerer

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from transformers import PreTrainedModel


class Twins(NamedTuple):
    """One prompt's activations at one site, with and without steering; a picture's steps stand one after the other.

    Args:
        original: Without.
        steered: With, all earlier sites being steered, too.
    """

    original: Float[Tensor, "positions channels"]
    steered: Float[Tensor, "positions channels"]


def cosines(twins: Twins) -> Float[Tensor, "positions"]:
    """Give the cosine of each steered activation to the original one: t' · t / (|t'| |t|).

    Args:
        twins: Activations.

    Returns:
        In [−1, 1], float32; 1 where the direction is as it was.
    """
    return F.cosine_similarity(twins.steered.float(), twins.original.float(), dim=-1)


def changes(twins: Twins) -> Float[Tensor, "positions"]:
    """Give the length of each change, as a share of the activation's own: |t' − t| / |t|.

    Args:
        twins: Activations.

    Returns:
        0 or more, float32; 0 where nothing changed.
    """
    original = twins.original.float()
    tiny = torch.finfo(original.dtype).tiny
    return (twins.steered.float() - original).norm(dim=-1) / original.norm(dim=-1).clamp(min=tiny)


def steered_twins(
    pipe: "DiffusionPipeline | PreTrainedModel",
    steerer: Steerer,
    texts: Sequence[str],
    *,
    tokenizer: Any = None,
    chat: bool = False,
    sites: str | Sequence[str] = "blocks",
    strength: float | None = None,
    tokens: Tokens = "both",
    seed: int = 0,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Twins]]:
    """Run prompts without steering and with it, and give what both left at each site.

    A language model reads each text once and continues nothing, so that both runs have the same tokens; hand in a
    continuation as part of the text. A pipeline draws each picture twice from one seed.

    Args:
        pipe: What the steerer was fitted on, not steered; it comes out as it went in.
        steerer: The steerer.
        texts: The prompts.
        tokenizer: Of a language model.
        chat: Put a language model's prompts into the tokenizer's chat template.
        sites: What to read, as for `fit`; no attention heads, which are read before they are steered.
        strength: λ; `None` for the steerer's own.
        tokens: Which tokens to steer, as for `attach`; without a continuation all are the prompt's.
        seed: Of the first picture; each has the next.
        batch_size: Prompts at a time. Activations of one batch are held at once.
        generation: Sampling settings of a pipeline; by default its own.

    Yields:
        For each text site → activations, without padding, on the processor.

    Raises:
        InputError: If there is no text, a site is an attention head, the tokenizer is missing, or as for `attach`.
    """
    host = steerer.host(pipe)
    if isinstance(host, LanguageHost):
        check_tokenizer(host.owner, tokenizer, chat)
        host = LanguageHost(host.owner, tokenizer, "prompt", chat)
    chosen = find_sites(host.model, sites)
    if heads := [site.path for site in chosen if site.is_head]:
        raise InputError(
            f"{heads[0]} is an attention head, which is read before it is steered, so no change would be seen there. "
            "Give sites='attention' or sites='blocks', where the change of heads arrives."
        )
    if not texts:
        raise InputError("No text was given to compare steered and original activations on. Give at least one.")
    how = Recording(seed, batch_size, generation or {}, None, 1, progress=False)
    for start in range(0, len(texts), batch_size):
        part = texts[start : start + batch_size]
        runs = []
        for steering in (nullcontext(), steerer.attached(pipe, strength, tokens=tokens)):
            with steering, _kept(host, chosen) as kept:
                for _ in run(host, part, range(seed + start, seed + start + len(part)), how, "latent"):
                    pass
            runs.append(kept)
        for row in range(len(part)):
            yield {site.path: Twins(*(torch.cat(kept[site.path][row]) for kept in runs)) for site in chosen}


@contextmanager
def _kept(host: Host, sites: Sequence[Site]) -> Generator[dict[str, list[list[Tensor]]]]:
    """Keep every position that counts: site → row → calls, each (positions, channels)."""
    kept: dict[str, list[list[Tensor]]] = {site.path: [] for site in sites}
    handles = []
    with host.reader() as calls:

        def keep(activation: Tensor, rows: list[list[Tensor]]) -> None:
            whole = calls.call
            held = activation[whole.conditional].detach()
            if not len(held):
                return
            call = whole.reduced_to(whole.conditional)
            seen = call.positions_of(held)
            rows += [[] for _ in range(len(seen) - len(rows))]
            for number, row in enumerate(rows):
                one = slice(number, number + 1)
                row.append(call.reduced_to(one).flat(seen[one]).cpu())

        try:
            for site in sites:
                handles.append(watch(host.model, site, lambda t, rows=kept[site.path]: keep(t, rows)))
            yield kept
        finally:
            for handle in handles:
                handle.remove()
