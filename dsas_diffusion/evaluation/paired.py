"""Every measure that needs both of a pair, fed batch by batch, with each picture's own figures beside the sums."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch.nn import functional as F

from ..prompts import Prompt
from .change import ChangeInside, ChangeOutside, change_of_part
from .clip import clip_score
from .clip_similarity import ClipSimilarity, clip_similarity
from .fid import FrechetInceptionDistance
from .images import as_tensor
from .judge import Judge, View
from .kid import KernelInceptionDistance, for_sets
from .perceptual import PerceptualDistance, perceptual_distance
from .presence import label_matrix, presence_matrix, present
from .psnr import MedianPsnr, psnr
from .sharpness import SharpnessInside, SharpnessOutside, sharpness_of_part
from .ssim import MeanSsim, ssim
from .twins import NoInventedObject, ObjectsKept, Removal, invented

#: A pixel belongs to the concept from this value of a detector's heat map on.
INSIDE = 0.5


@dataclass
class Paired:
    """Steered pictures against their unsteered twins.

    `each` holds every picture's own figures in their order, NaN where one doesn't apply: `psnr`, `ssim`;
    `concept_unsteered`, `concept_steered` (0 or 1, by whom `View.shown` asks), `concept_left` (of those that showed it
    unsteered), `objects_kept` (share of the named objects drawn unsteered, the concept's apart), `invented` (0 or 1);
    `change_inside`, `change_outside`, `sharpness_inside`, `sharpness_outside`; with a goal `goal_unsteered` and
    `goal_steered` (0 or 1); with a CLIP `clip_prompt`, `clip_concept` (0 to 100), `clip_shows` (0 or 1: is the
    concept chosen?), the same with `_unsteered` of the twins, and `clip_twin` (CLIP-I); with a backbone `lpips`, the
    perceptual distance on that backbone's maps. `change_…` and `sharpness_…` take the concept's region from the
    detector; where CLIP alone says that the twin shows the concept, nothing tells where, and they are NaN.
    """

    psnr: MedianPsnr = field(default_factory=MedianPsnr)
    ssim: MeanSsim = field(default_factory=MeanSsim)
    clean: NoInventedObject = field(default_factory=NoInventedObject)
    kept: ObjectsKept | None = None
    removal: Removal | None = None
    clip_removal: Removal | None = None
    clip_twin: ClipSimilarity = field(default_factory=ClipSimilarity)
    kid: KernelInceptionDistance = field(default_factory=KernelInceptionDistance)
    fid: FrechetInceptionDistance = field(default_factory=FrechetInceptionDistance)
    distance: PerceptualDistance = field(default_factory=PerceptualDistance)
    change_inside: ChangeInside = field(default_factory=ChangeInside)
    change_outside: ChangeOutside = field(default_factory=ChangeOutside)
    sharpness_inside: SharpnessInside = field(default_factory=SharpnessInside)
    sharpness_outside: SharpnessOutside = field(default_factory=SharpnessOutside)
    each: dict[str, list[float]] = field(default_factory=dict)

    def update(
        self,
        judge: Judge,
        steered: View,
        twins: View,
        prompts: Sequence[Prompt] | None,
        texts: torch.Tensor | None,
    ) -> None:
        """Compare one batch; pairs of different sizes may follow one another.

        Args:
            judge: Who judges; the same for every batch.
            steered: What it sees in n steered pictures.
            twins: What it sees in their unsteered twins.
            prompts: What they were drawn from; `None` if that is not known.
            texts: (n, d) the judge's CLIP features of the prompts; `None` without either.
        """
        self._concept(judge, steered, twins)
        self._objects(judge, steered, twins, prompts)
        self._pixels(judge, steered, twins)
        self._scores(judge, steered, twins, texts)
        if steered.maps is not None and twins.maps is not None:
            distances = perceptual_distance(steered.maps, twins.maps)
            self.distance.add(distances)
            self._keep("lpips", distances)

    def _concept(self, judge: Judge, steered: View, twins: View) -> None:
        before, after = twins.shown, steered.shown
        if before is None or after is None:
            nothing = torch.full((len(steered.images),), math.nan)
            for name in ("concept_unsteered", "concept_steered", "concept_left"):
                self._keep(name, nothing)
        else:
            self.removal = self.removal or Removal(" or ".join(judge.labels) or str(judge.concept))
            self.removal.count(before, after)
            self._keep("concept_unsteered", before)
            self._keep("concept_steered", after)
            self._keep("concept_left", torch.where(before, after.double(), torch.nan))
        if twins.by_clip is not None and steered.by_clip is not None:
            self.clip_removal = self.clip_removal or Removal(str(judge.concept))
            self.clip_removal.count(twins.by_clip, steered.by_clip)

    def _objects(self, judge: Judge, steered: View, twins: View, prompts: Sequence[Prompt] | None) -> None:
        if steered.detection is None or twins.detection is None or prompts is None:
            for name in ("objects_kept", "invented"):
                self._keep(name, torch.full((len(steered.images),), math.nan))
        else:
            before, after = twins.detection.probabilities, steered.detection.probabilities
            labels = known_labels(prompts, judge.objects)
            self.clean.update(labels, before, after)
            self.kept = self.kept or ObjectsKept(judge.labels)
            self.kept.update(labels, before, after)
            names = sorted({name for wanted in labels for name in wanted} - set(judge.labels))
            drawn = label_matrix(labels, names) & presence_matrix(before, names)
            still = (drawn & presence_matrix(after, names)).sum(1) / drawn.sum(1)  # NaN where no other was drawn
            self._keep("objects_kept", still)
            every = sorted(after)
            sides = presence_matrix(before, every), presence_matrix(after, every)
            self._keep("invented", invented(label_matrix(labels, every), *sides))
        if judge.goal is not None and steered.detection is not None and twins.detection is not None:
            self._keep("goal_unsteered", present(twins.detection.probabilities, judge.goal))
            self._keep("goal_steered", present(steered.detection.probabilities, judge.goal))

    def _pixels(self, judge: Judge, steered: View, twins: View) -> None:
        numbers = range(len(steered.images))
        for size, group in groupby(numbers, key=lambda number: steered.images[number].size):
            some = list(group)
            pictures, others = (as_tensor([view.images[number] for number in some]) for view in (steered, twins))
            regions, known = _regions(judge, twins, some, (size[1], size[0]))
            for name, measure, values in (
                ("psnr", self.psnr, psnr(pictures, others)),
                ("ssim", self.ssim, ssim(pictures, others)),
            ):
                measure.add(values)
                self._keep(name, values)
            for name, measure, figure in (
                ("change_inside", self.change_inside, change_of_part),
                ("change_outside", self.change_outside, change_of_part),
                ("sharpness_inside", self.sharpness_inside, sharpness_of_part),
                ("sharpness_outside", self.sharpness_outside, sharpness_of_part),
            ):
                values = figure(pictures, others, regions, measure.part)
                measure.add(values[known])
                self._keep(name, torch.where(known, values, torch.nan))

    def _scores(self, judge: Judge, steered: View, twins: View, texts: torch.Tensor | None) -> None:
        if steered.features is None or twins.features is None:
            return
        nothing = torch.full((len(steered.images),), torch.nan)
        for end, features, shows in (
            ("", steered.features, steered.by_clip),
            ("_unsteered", twins.features, twins.by_clip),
        ):
            self._keep(f"clip_prompt{end}", nothing if texts is None else clip_score(features, texts))
            concept = nothing if judge.choice is None else clip_score(features, judge.choice[:1])
            self._keep(f"clip_concept{end}", concept)
            self._keep(f"clip_shows{end}", nothing if shows is None else shows)
        similarities = clip_similarity(steered.features, twins.features)
        self.clip_twin.add(similarities)
        for measure in (self.kid, self.fid):
            measure.add(for_sets(steered.features), for_sets(twins.features))
        self._keep("clip_twin", similarities)

    def _keep(self, name: str, values: torch.Tensor) -> None:
        self.each.setdefault(name, []).extend(values.double().tolist())

    def figures(self) -> dict[str, Any]:
        """Give every figure; what was not measured is NaN or `None`, `each` holds the pictures' own in their order.

        `kid` and `fid` are of the steered pictures to the twins as sets, on CLIP's features (`for_sets`).
        """
        return {
            "psnr_median": self.psnr.compute(),
            "ssim_mean": self.ssim.compute(),
            "perceptual_distance": self.distance.compute(),
            "clip_twin": self.clip_twin.compute(),
            "kid": self.kid.compute(),
            "fid": self.fid.compute(),
            "removal": self.removal.compute() if self.removal else None,
            "clip_removal": self.clip_removal.compute() if self.clip_removal else None,
            "objects_kept": self.kept.compute() if self.kept else None,
            "no_invented_object": self.clean.compute(),
            "change_inside": self.change_inside.compute(),
            "change_outside": self.change_outside.compute(),
            "sharpness_inside": self.sharpness_inside.compute(),
            "sharpness_outside": self.sharpness_outside.compute(),
            "each": self.each,
        }


def known_labels(prompts: Sequence[Prompt], objects: frozenset[str]) -> list[tuple[str, ...]]:
    """Give each prompt's labels that a detector knows.

    Args:
        prompts: n prompts.
        objects: What the detector knows.

    Returns:
        n tuples.
    """
    return [tuple(name for name in prompt.labels if name in objects) for prompt in prompts]


def _regions(
    judge: Judge, twins: View, numbers: Sequence[int], size: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Say where twins show the concept, and whether that is known.

    Returns:
        (n, height, width) bool, nowhere for a twin that doesn't show it; (n,) bool, `False` where a twin shows it and
        no detector says where, or nobody says whether it does.
    """
    nowhere = torch.zeros(len(numbers), *size, dtype=torch.bool)
    if twins.shown is None:
        return nowhere, torch.zeros(len(numbers), dtype=torch.bool)
    there = twins.shown[list(numbers)]
    if twins.detection is None or not judge.labels:
        return nowhere, ~there
    heat = torch.stack([twins.detection.heat_maps[name][list(numbers)].cpu() for name in judge.labels]).amax(dim=0)
    grown = F.interpolate(heat[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
    return (grown > INSIDE) & there[:, None, None], torch.ones(len(numbers), dtype=torch.bool)
