"""All measures over pictures with their prompts, beside their unsteered twins."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from ..errors import InputError
from ..prompts import Prompt
from .clip import ClipJudge, ClipScore, ZeroShotRate, zero_shot
from .images import Images, Pair, read_batches
from .paired import Paired
from .presence import Detector, ObjectsShown, PresenceRate
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

    def read(self, images: Images, prompts: torch.Tensor, clip: ClipJudge, choice: torch.Tensor | None) -> None:
        """Score one batch by CLIP, given the features of its prompts and of the concept with its alternatives."""
        features = clip.image_features(images)
        self.clip_prompt.update(features, prompts)
        if choice is not None:
            self.clip_concept.update(features, choice[:1])
            if len(choice) > 1:
                self.clip_concept_rate.update(zero_shot(features, choice, clip.logit_scale))

    def detect(self, found: Mapping[str, torch.Tensor], labels: Sequence[Sequence[str]], concept: str | None) -> None:
        """Count one batch's objects."""
        self.objects_shown.update(labels, found)
        for name in sorted({name for wanted in labels for name in wanted}):
            among = torch.tensor([name in wanted for wanted in labels])
            self.labels.setdefault(name, PresenceRate(name)).update(found, among)
        if concept is not None:
            self.concept_rate = self.concept_rate or PresenceRate(concept)
            self.concept_rate.update(found)

    def figures(self) -> dict[str, Any]:
        return {
            "clip_prompt": self.clip_prompt.compute(),
            "clip_concept": self.clip_concept.compute(),
            "clip_concept_rate": self.clip_concept_rate.compute(),
            "concept_rate": self.concept_rate.compute() if self.concept_rate else None,
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
) -> dict[str, Any]:
    """Measure pictures against their prompts and twins; one batch is in memory at a time.

    Args:
        pairs: Pictures on disk, steered ones if there are twins, as `pair_images` finds them; all with a twin or none.
        clip: The judge for CLIP scores and the zero-shot choice; without it those are left out.
        detector: The judge for presence; without it that is left out. Labels that it doesn't know are left out and
            named.
        concept: The concept as a text for CLIP. The detector counts the object that it names (`object_of`).
        alternatives: Texts that the zero-shot choice sets against the concept.
        batch_size: Pictures at a time.

    Returns:
        `"pictures"`, their number; `"images"` and `"twins"`, the figures of either side: `clip_prompt` and
        `clip_concept` (mean CLIP scores, 0 to 100), `clip_concept_rate`, `concept_rate`, `objects_shown` (shares),
        `labels` (label → share of the pictures asked to show it that do); `"paired"`: what `Paired.figures` gives;
        `"concept_object"` and `"unknown_labels"`. What was not measured is NaN or `None`.

    Raises:
        InputError: If a picture can't be read, its twin has another size, or alternatives stand without
            a concept.
    """
    if alternatives and concept is None:
        raise InputError("There are alternatives, but no concept to set them against. Give the concept's text too.")
    twins = any(pair.twin for pair in pairs)
    choice = clip.text_features([concept, *alternatives]) if clip is not None and concept is not None else None
    here, there, paired = _Side(), _Side(), Paired()
    thing: str | None = None
    unknown: set[str] = set()
    with tqdm(total=len(pairs), unit="picture", disable=None, leave=False) as bar:
        for batch in read_batches(pairs, batch_size):
            sides = [(here, batch.images)] + ([(there, batch.twins)] if batch.twins else [])
            if clip is not None:
                texts = clip.text_features([prompt.text for prompt in batch.prompts])
                for side, pictures in sides:
                    side.read(pictures, texts, clip, choice)
            if detector is not None:
                found = [detector(pictures) for _, pictures in sides]
                thing = object_of(concept, found[0].probabilities)
                labels, missed = _known_labels(batch.prompts, found[0].probabilities)
                unknown |= missed
                for (side, _), detection in zip(sides, found, strict=True):
                    side.detect(detection.probabilities, labels, thing)
                if batch.twins:
                    paired.detect(batch.images, batch.twins, found[0], found[1], labels, thing)
            if batch.twins:
                paired.compare(batch.images, batch.twins)
            bar.update(len(batch.images))
    return {
        "pictures": len(pairs),
        "concept_object": thing,
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
    kept = "named objects kept" if figures["concept_object"] is None else "other named objects kept"
    rows = [
        ("CLIP score to the prompt", *(_written(side["clip_prompt"], ".2f") for side in sides)),
        ("CLIP score to the concept", *(_written(side["clip_concept"], ".2f") for side in sides)),
        ("shows the concept, by CLIP", *(_written(side["clip_concept_rate"], ".1%") for side in sides)),
        (
            f"shows {figures['concept_object']}, by the detector",
            *(_written(side["concept_rate"], ".1%") for side in sides),
        ),
        ("named objects shown", *(_written(side["objects_shown"], ".1%") for side in sides)),
        *(
            (f"  {name}", *(_written(side["labels"].get(name), ".1%") for side in sides))
            for name in sorted({name for side in sides for name in side["labels"]})
        ),
        (f"{figures['concept_object']} removed, of the twins that show it", _written(pair.get("removal"), ".1%")),
        (f"{kept}, of those the twins show", _written(pair.get("objects_kept"), ".1%")),
        ("without an invented object", _written(pair.get("no_invented_object"), ".1%")),
        ("median PSNR to the twin, dB", _written(pair.get("psnr_median"), ".1f")),
        ("mean SSIM to the twin", _written(pair.get("ssim_mean"), ".3f")),
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


def _known_labels(
    prompts: Sequence[Prompt], found: Mapping[str, torch.Tensor]
) -> tuple[list[tuple[str, ...]], set[str]]:
    labels = [tuple(name for name in prompt.labels if name in found) for prompt in prompts]
    return labels, {name for prompt in prompts for name in prompt.labels} - found.keys()
