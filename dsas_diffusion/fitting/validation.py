"""How far a site can be trusted: classifiers measured on prompts that they have not seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from torch import Tensor

from ..core.probe import folded_classifiers
from ..core.ranking import auroc
from ..core.registry import settings_of
from ..gates.base import Gate, Samples
from ..gates.logistic import LogisticGate
from ..gates.patch import INSIDE, OUTSIDE

#: Positions of either group that a view is measured on at most.
_POSITIONS = 3000


class Verdict(NamedTuple):
    """How a classifier does on prompts that it has not seen.

    Args:
        accuracy: Share of samples on the right side, in [0, 1].
        auroc: Area under the ROC curve, in [0, 1].
        mistaken: The control prompts of which at least half of the samples are taken for source, by their index.
    """

    accuracy: float
    auroc: float
    mistaken: list[int]


def cross_validated(gate: Gate, source: Samples, control: Samples, folds: int = 4, twins: bool = False) -> Verdict:
    """Measure the classifier of a gate on prompts that it has not seen.

    Folds are grouped by prompt, and the PCA is learned inside each fold. A gate that learns otherwise than by logistic
    regression is learned anew in each fold; one that learns nothing is measured with the paper's classifier.

    Args:
        gate: The gate of the site.
        source: Samples that show the concept.
        control: Samples that don't.
        folds: At most the number of prompts of the smaller side.
        twins: Whether the i-th prompts of both sides belong together, and so into one fold.
    """
    shown, other = held_out_scores(gate, source, control, folds, twins)
    taken = other > 0
    mistaken = [int(i) for i in control.prompts.unique() if taken[control.prompts == i].double().mean() >= 0.5]
    right = int((shown > 0).sum() + (~taken).sum())
    return Verdict(right / (len(shown) + len(other)), auroc(shown[:, None], other[:, None]).item(), mistaken)


def held_out_scores(
    gate: Gate, source: Samples, control: Samples, folds: int = 4, twins: bool = False
) -> tuple[Float[Tensor, "n"], Float[Tensor, "m"]]:
    """Score every sample by a classifier that has not seen its prompt, see :func:`cross_validated`.

    Args:
        gate: As for `cross_validated`.
        source: As for `cross_validated`.
        control: As for `cross_validated`.
        folds: As for `cross_validated`.
        twins: As for `cross_validated`.

    Returns:
        Scores of source and of control samples, float64; what is above 0 is taken for source.
    """
    X = torch.cat([source.pooled, control.pooled])
    apart = 0 if twins else 1 + source.prompts.max()
    groups = torch.cat([source.prompts, control.prompts + apart]).numpy()
    smaller = min(len(torch.unique(source.prompts)), len(torch.unique(control.prompts)))
    split = GroupKFold(max(2, min(folds, smaller)))
    scores = np.full(len(X), np.nan)
    parts = list(split.split(X, groups=groups))
    regression = isinstance(gate, LogisticGate) and gate.by_regression
    if gate.weighted and not regression:
        for learned, unseen in parts:
            again = type(gate)(**settings_of(gate)).reset(X.shape[1])
            again.fit(_of(source, learned[learned < len(source.pooled)]),
                      _of(control, learned[learned >= len(source.pooled)] - len(source.pooled)))  # fmt: skip
            scores[unseen] = again(X[unseen].float()[:, None])[:, 0].numpy() - 0.5
    else:
        components = gate.components if isinstance(gate, LogisticGate) else LogisticGate().components
        _score(scores, X, torch.arange(len(X)) < len(source.pooled), parts, components)
    shown, other = torch.from_numpy(scores).split([len(source.pooled), len(control.pooled)])
    return shown, other


def _score(
    scores: NDArray[np.float64],
    activations: Tensor,
    shown: Tensor,
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    components: int,
    balanced: bool = False,
) -> None:
    """Write the score of every unseen sample, by a classifier that learned from the others of its part."""
    counted = torch.zeros(len(parts), len(activations), dtype=torch.bool)
    for row, (learned, _) in zip(counted, parts, strict=True):
        row[torch.from_numpy(learned)] = True
    weight, bias = folded_classifiers(activations, shown, counted, components, balanced)
    for number, (_, unseen) in enumerate(parts):
        scores[unseen] = (activations[unseen].double() @ weight[number] + bias[number]).numpy()


def first_samples(samples: Samples) -> Samples:
    """Give the first sample of each prompt: its first recorded step."""
    return _of(samples, np.sort(np.unique(samples.prompts.numpy(), return_index=True)[1]))


def _of(samples: Samples, rows: NDArray[np.int64]) -> Samples:
    """The given samples, with their positions."""
    each = len(samples.positions) // len(samples.pooled)
    places = torch.from_numpy((rows[:, None] * each + np.arange(each)).ravel())
    inside = None if samples.inside is None else samples.inside[places]
    chosen = torch.from_numpy(rows)
    return Samples(samples.pooled[chosen], samples.prompts[chosen], samples.positions[places], inside)


def place_auroc(source: Samples, control: Samples, components: int = 16, folds: int = 4) -> float:
    """Measure how well a site tells places of the concept from others, on prompts that it has not seen.

    A position counts as inside by the share of it that the concept covers, and as outside by the rest, so that a coarse
    grid can't do better than its cells allow.

    Args:
        source: Samples that show the concept, with `inside`.
        control: Samples that don't.
        components: Principal components of the classifier.
        folds: Of prompts.

    Returns:
        Area under the ROC curve of the patch gate's second classifier, in [0, 1]; 0.5 where nothing lies inside.
    """
    if source.inside is None:
        return 0.5
    each = len(source.positions) // len(source.pooled)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randperm(len(s.positions), generator=generator)[:_POSITIONS] for s in (source, control)]
    X = torch.cat([source.positions[rows[0]], control.positions[rows[1]]])
    inside = torch.cat([source.inside[rows[0]], torch.zeros(len(rows[1]))]).double().numpy()
    groups = torch.cat([source.prompts[rows[0] // each], control.prompts[rows[1] // each] + 1 + source.prompts.max()])
    scores = np.full(len(X), np.nan)
    parts = []
    for learned, unseen in GroupKFold(folds).split(X, groups=groups.numpy()):
        shown, other = learned[inside[learned] >= INSIDE], learned[inside[learned] < OUTSIDE]
        if min(len(shown), len(other)) < 2:
            return 0.5
        parts.append((np.concatenate([shown, other]), unseen))
    _score(scores, X, torch.from_numpy(inside >= INSIDE), parts, components, balanced=True)
    y = np.repeat([1, 0], len(X))
    return float(roc_auc_score(y, np.tile(scores, 2), sample_weight=np.concatenate([inside, 1 - inside])))
