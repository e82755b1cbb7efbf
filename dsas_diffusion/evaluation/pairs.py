"""All measures over pictures with their prompts, beside their unsteered twins."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..errors import InputError
from ..prompts import Prompt
from .clip import ClipScore, ZeroShotRate, zero_shot
from .clip_judge import ClipJudge
from .fid import FrechetInceptionDistance
from .images import Pair, read_batches, read_image
from .judge import Judge, View
from .kid import KernelInceptionDistance, for_sets
from .paired import Paired, known_labels
from .perceptual import Backbone
from .presence import Detector, ObjectsShown, PresenceRate, known_objects
from .report import format_table


@dataclass
class _Side:
    """The measures of one set of pictures: the images, or their twins."""

    clip_prompt: ClipScore = field(default_factory=ClipScore)
    clip_concept: ClipScore = field(default_factory=ClipScore)
    clip_concept_rate: ZeroShotRate = field(default_factory=ZeroShotRate)
    objects_shown: ObjectsShown = field(default_factory=ObjectsShown)
    concept_rate: PresenceRate | None = None
    labels: dict[str, PresenceRate] = field(default_factory=dict)
    kid: KernelInceptionDistance | None = None
    fid: FrechetInceptionDistance | None = None

    def read(self, judge: Judge, view: View, prompts: Sequence[Prompt] | None, texts: torch.Tensor | None) -> None:
        """Take what the judge sees in one batch, and the CLIP features of its prompts."""
        if view.features is not None:
            if texts is not None:
                self.clip_prompt.update(view.features, texts)
            for measure in (self.kid, self.fid):
                if measure is not None:
                    measure.add(for_sets(view.features), view.features[:0])
            if judge.choice is not None:
                self.clip_concept.update(view.features, judge.choice[:1])
            if judge.clip is not None and judge.choice is not None and judge.alternatives:
                self.clip_concept_rate.update(zero_shot(view.features, judge.choice, judge.clip.logit_scale))
        if view.detection is not None:
            self._detect(judge, view.detection.probabilities, prompts)

    def _detect(self, judge: Judge, found: Mapping[str, torch.Tensor], prompts: Sequence[Prompt] | None) -> None:
        if prompts is not None:
            labels = known_labels(prompts, judge.objects)
            self.objects_shown.update(labels, found)
            for name in sorted({name for wanted in labels for name in wanted}):
                among = torch.tensor([name in wanted for wanted in labels])
                self.labels.setdefault(name, PresenceRate(name)).update(found, among)
        if judge.labels:
            self.concept_rate = self.concept_rate or PresenceRate(" or ".join(judge.labels))
            joined = torch.stack([found[name] for name in judge.labels]).amax(dim=0)  # of several objects, any
            self.concept_rate.update({self.concept_rate.name: joined})

    def figures(self) -> dict[str, Any]:
        return {
            "clip_prompt": self.clip_prompt.compute(),
            "clip_concept": self.clip_concept.compute(),
            "clip_concept_rate": self.clip_concept_rate.compute(),
            "concept_rate": self.concept_rate.compute() if self.concept_rate else None,
            "kid": self.kid.compute() if self.kid else None,
            "fid": self.fid.compute() if self.fid else None,
            "objects_shown": self.objects_shown.compute(),
            "labels": {name: self.labels[name].compute() for name in sorted(self.labels)},
        }


def evaluate_pairs(
    pairs: Sequence[Pair],
    clip: ClipJudge | None = None,
    detector: Detector | None = None,
    concept: str | None = None,
    alternatives: Sequence[str] = (),
    batch_size: int = 32,
    labels: Sequence[str] | None = None,
    backbone: Backbone | None = None,
    references: Sequence[Path] = (),
) -> dict[str, Any]:
    """Measure pictures against their prompts and twins; one batch is in memory at a time.

    Args:
        pairs: Pictures on disk, steered ones if there are twins, as `pair_images` finds them; all with a twin or none,
            and all with a prompt or none.
        clip: The judge for CLIP scores and the zero-shot choice; without it those are left out.
        detector: The judge for presence; without it that is left out. Labels of prompts that it doesn't know are left
            out and named.
        concept: The concept as a text for CLIP.
        alternatives: Texts that the zero-shot choice sets against the concept.
        batch_size: Pictures at a time.
        labels: Objects of the detector that stand for the concept; by default the one that its text names
            (`object_of`). Where none does, removal is by CLIP's choice.
        backbone: Feature maps for the perceptual distance to the twin; without it that is left out.
        references: Other pictures on disk, such as scenes that should appear instead: KID and FID to them as a set.

    Returns:
        `"pictures"`, their number; `"images"` and `"twins"`, the figures of either side: `clip_prompt` and
        `clip_concept` (mean CLIP scores, 0 to 100), `clip_concept_rate`, `concept_rate`, `objects_shown` (shares),
        `kid` and `fid` to the references on CLIP's features (`for_sets`), `labels` (label → share of the pictures asked
        to show it that do); `"paired"`: what `Paired.figures` gives;
        `"concept_object"` and `"unknown_labels"`. What was not measured is NaN or `None`.

    Raises:
        InputError: If a picture can't be read, its twin has another size, references stand without a CLIP, or as for
            `Judge`.
    """
    if references and clip is None:
        raise InputError("KID and FID to the references need a CLIP's features, and there is none. Name one.")
    if labels is None:
        thing = None if detector is None else object_of(concept, known_objects(detector))
        labels = () if thing is None else (thing,)
    judge = Judge(detector, clip, concept, tuple(alternatives), tuple(labels), backbone=backbone)
    twins = any(pair.twin for pair in pairs)
    here, there, paired = _Side(), _Side(), Paired()
    if references:
        for side in (here, there):
            side.kid, side.fid = KernelInceptionDistance(), FrechetInceptionDistance()
    unknown: set[str] = set()
    with tqdm(total=len(pairs), unit="picture", disable=None, leave=False) as bar:
        for batch in read_batches(pairs, batch_size):
            texts = None
            if clip is not None and batch.prompts is not None:
                texts = clip.text_features([prompt.text for prompt in batch.prompts])
            if detector is not None and batch.prompts is not None:
                unknown |= {name for prompt in batch.prompts for name in prompt.labels} - judge.objects
            steered = judge.see(batch.images)
            here.read(judge, steered, batch.prompts, texts)
            if batch.twins:
                unsteered = judge.see(batch.twins)
                there.read(judge, unsteered, batch.prompts, texts)
                paired.update(judge, steered, unsteered, batch.prompts, texts)
            bar.update(len(batch.images))
    if clip is not None:
        for start in range(0, len(references), batch_size):
            features = clip.image_features([read_image(path) for path in references[start : start + batch_size]])
            for measure in (measure for side in (here, there) for measure in (side.kid, side.fid)):
                if measure is not None:
                    measure.add(features[:0], for_sets(features))
    return {
        "pictures": len(pairs),
        "concept_object": " or ".join(judge.labels) or None,
        "unknown_labels": sorted(unknown),
        "images": here.figures(),
        "twins": there.figures() if twins else None,
        "paired": paired.figures() if twins else None,
    }


def object_of(concept: str | None, objects: Iterable[str]) -> str | None:
    """Find the one object that a concept's text names, as a word or words of it.

    Args:
        concept: A text such as `"a photo of a banana"`.
        objects: The names that a detector knows.

    Returns:
        The object; `None` if the text names none of them, or several.
    """
    named = [name for name in objects if re.search(rf"\b{re.escape(name)}\b", concept or "", re.IGNORECASE)]
    return named[0] if len(named) == 1 else None


def figures_table(figures: Mapping[str, Any]) -> str:
    """Lay out what `evaluate_pairs` gave for the terminal, leaving out what was not measured.

    Args:
        figures: As `evaluate_pairs` gives them.

    Returns:
        One table, with a column for the twins if there are any.
    """
    sides = [figures["images"]] + ([figures["twins"]] if figures["twins"] is not None else [])
    pair = figures["paired"] or {}
    thing = figures["concept_object"] or "the concept, by CLIP's choice,"
    kept = "named objects kept" if figures["concept_object"] is None else "other named objects kept"
    rows = [
        ("CLIP score to the prompt", *(_written(side["clip_prompt"], ".2f") for side in sides)),
        ("CLIP score to the concept", *(_written(side["clip_concept"], ".2f") for side in sides)),
        ("shows the concept, by CLIP", *(_written(side["clip_concept_rate"], ".1%") for side in sides)),
        (
            f"shows {figures['concept_object']}, by the detector",
            *(_written(side["concept_rate"], ".1%") for side in sides),
        ),
        ("KID to the references, on CLIP's features", *(_written(side["kid"], ".4f") for side in sides)),
        ("FID to the references, on CLIP's features", *(_written(side["fid"], ".2f") for side in sides)),
        ("named objects shown", *(_written(side["objects_shown"], ".1%") for side in sides)),
        *(
            (f"  {name}", *(_written(side["labels"].get(name), ".1%") for side in sides))
            for name in sorted({name for side in sides for name in side["labels"]})
        ),
        (f"{thing} removed, of the twins that show it", _written(pair.get("removal"), ".1%")),
        (f"{kept}, of those the twins show", _written(pair.get("objects_kept"), ".1%")),
        ("without an invented object", _written(pair.get("no_invented_object"), ".1%")),
        ("median PSNR to the twin, dB", _written(pair.get("psnr_median"), ".1f")),
        ("mean SSIM to the twin", _written(pair.get("ssim_mean"), ".3f")),
        ("mean perceptual distance to the twin", _written(pair.get("perceptual_distance"), ".4f")),
        ("mean CLIP similarity to the twin", _written(pair.get("clip_twin"), ".3f")),
        ("KID to the twins, on CLIP's features", _written(pair.get("kid"), ".4f")),
        ("FID to the twins, on CLIP's features", _written(pair.get("fid"), ".2f")),
        ("change off the concept's region, of 1", _written(pair.get("change_outside"), ".4f")),
        ("sharpness on the concept, of the twin's", _written(pair.get("sharpness_inside"), ".3f")),
        ("sharpness elsewhere, of the twin's", _written(pair.get("sharpness_outside"), ".3f")),
    ]
    measured = [(*row, "")[: len(sides) + 1] for row in rows if set(row[1:]) != {""}]
    headers = {f"{figures['pictures']} pictures": "", "images": ">", **({"twins": ">"} if len(sides) > 1 else {})}
    return format_table(measured, headers)


def _written(value: float | None, spec: str) -> str:
    if value is None or value != value:
        return ""
    return "∞" if value == float("inf") else format(value, spec)
