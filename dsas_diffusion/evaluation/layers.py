"""How well a gate tells source from control at a layer: on folds of the fit prompts, and on other prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from ..backends.language import check_tokenizer
from ..core.ranking import auroc, overlap
from ..core.registry import settings_of
from ..errors import InputError
from ..fitting.recording import Recording, record
from ..fitting.validation import held_out_scores
from ..gates.base import Gate, Samples
from ..hooks.calls import Tokens
from ..hooks.hosts import LanguageHost, host_of
from ..hooks.sites import Site
from ..prompts import PromptSet

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from transformers import PreTrainedModel

Split = Literal["fit", "tuning", "heldout"]


class Sides(NamedTuple):
    """What one site recorded of prompts that show the concept, and of prompts that don't.

    Args:
        source: Those that do.
        control: Those that don't.
    """

    source: Samples
    control: Samples


class Told(NamedTuple):
    """How well scores tell source from control.

    Args:
        accuracy: Share of samples on the right side, in [0, 1].
        auroc: Area under the ROC curve, in [0, 1].
        overlap: What both share of their distributions along the score, in [0, 1], see `core.ranking.overlap`.
    """

    accuracy: float
    auroc: float
    overlap: float


def told(shown: Float[Tensor, "n"], other: Float[Tensor, "m"]) -> Told:
    """Measure scores, of which those above 0 stand for source.

    Args:
        shown: Of source samples, n ≥ 1.
        other: Of control samples, m ≥ 1.
    """
    right = int((shown > 0).sum() + (other <= 0).sum())
    columns = shown[:, None], other[:, None]
    return Told(right / (len(shown) + len(other)), auroc(*columns).item(), overlap(*columns).item())


def measured(gate: Gate, fit: Sides, unseen: Mapping[str, Sides], folds: int = 4) -> dict[str, Told]:
    """Measure one gate at one site: on folds of the fit prompts, then, learned from all of these, on others.

    With as many components as the site has channels a linear gate is the one without a PCA: regularised logistic
    regression finds the same plane in any rotation, and nothing outside the span of its samples.

    Args:
        gate: Its settings; it stays as it is.
        fit: What the gate learns from.
        unseen: Name → samples of other prompts at the same site, such as held-out ones or another set's.
        folds: Of the fit prompts, as in `validation.cross_validated`.

    Returns:
        `"folds"` and each name → figures.
    """
    found = {"folds": told(*held_out_scores(gate, *fit, folds))}
    learned = type(gate)(**settings_of(gate)).reset(fit.source.pooled.shape[1]).fit(*fit)
    for name, sides in unseen.items():
        found[name] = told(*(learned(samples.pooled[:, None])[:, 0].double() - 0.5 for samples in sides))
    return found


def sides(
    pipe: "DiffusionPipeline | PreTrainedModel",
    prompts: PromptSet,
    sites: Sequence[Site],
    split: Split = "fit",
    *,
    tokenizer: Any = None,
    tokens: Tokens = "prompt",
    seed: int = 0,
    batch_size: int = 16,
    positions: int = 16,
    generation: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> dict[str, Sides]:
    """Record source and control prompts of one part of a set.

    Args:
        pipe: A pipeline, a language model or an encoder; it comes out as it went in.
        prompts: The set.
        sites: What to record.
        split: Which part: the prompts to fit on, those to choose settings on, or those for final figures.
        tokenizer: Of a language model.
        tokens: Which tokens of a language model's texts are averaged, as for `fit`.
        seed: First seed of pictures.
        batch_size: Prompts at a time.
        positions: How many positions of each sample to keep at most, for gates that learn from single ones.
        generation: Sampling settings of pictures, or of texts whose continuations are averaged.
        progress: Show a bar.

    Returns:
        Site → samples.

    Raises:
        InputError: If the part has no source or no control prompts, or as `fit` does.
    """
    host = host_of(pipe, [site.path for site in sites])
    if isinstance(host, LanguageHost):
        check_tokenizer(host.owner, tokenizer)
        host = LanguageHost(host.owner, tokenizer, tokens)
    how = Recording(seed, batch_size, generation or {}, None, positions, progress)
    groups = record(host, part_of(prompts, split), sites, how, None).groups
    return {site.path: Sides(groups["source"][site.path], groups["control"][site.path]) for site in sites}


def part_of(prompts: PromptSet, split: Split) -> PromptSet:
    """Make a set of its own of the source and control prompts of one part of a set.

    Args:
        prompts: The set.
        split: The part.

    Raises:
        InputError: If the part has no source or no control prompts.
    """
    groups = prompts.groups()
    prefix = "" if split == "fit" else f"{split}_"
    missing = [name for name in ("source", "control") if f"{prefix}{name}" not in groups]
    if missing:
        raise InputError(
            f"The prompt set {prompts.name!r} has no {prefix}{missing[0]} prompts, so nothing can be measured on its "
            f"{split} part. Add {prefix}{missing[0]}.jsonl, or measure on another part."
        )
    source, control = groups[f"{prefix}source"], groups[f"{prefix}control"]
    return replace(prompts, source=source, target=(), control=control, heldout={}, tuning={}, twins=False)
