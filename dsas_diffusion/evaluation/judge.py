"""Who judges pictures for one concept: a detector, a CLIP and a backbone, and what they are asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image

from ..errors import InputError
from .clip import zero_shot
from .clip_judge import ClipJudge
from .perceptual import Backbone
from .presence import Detection, Detector, known_objects, presence_matrix


@dataclass(frozen=True)
class View:
    """What a judge sees in n pictures.

    Args:
        images: The pictures.
        detection: What the detector finds; `None` without one.
        features: (n, d) CLIP's, of length 1; `None` without one.
        maps: The backbone's maps, each (n, channels, height, width); `None` without one.
        by_detector: (n,) bool, whether the detector finds any object that stands for the concept; `None` if none does.
        by_clip: (n,) bool, whether CLIP chooses the concept among its alternatives; `None` without alternatives.
    """

    images: Sequence[Image.Image]
    detection: Detection | None
    features: torch.Tensor | None
    maps: Sequence[torch.Tensor] | None
    by_detector: torch.Tensor | None
    by_clip: torch.Tensor | None

    @property
    def shown(self) -> torch.Tensor | None:
        """(n,) bool, whether a picture shows the concept: the detector says, or CLIP where no object stands for it."""
        return self.by_clip if self.by_detector is None else self.by_detector


@dataclass(frozen=True)
class Judge:
    """Who says what pictures show, and the concept that they are asked about.

    A concept that is an object of the detector's is judged by the detector. A look ("a sketch") or an attribute ("red
    apples") is no object: leave `labels` empty, and CLIP's choice among the concept and its alternatives counts.

    Args:
        detector: Which objects a picture shows, and where.
        clip: CLIP scores and zero-shot choices.
        concept: The concept as a text for CLIP, such as `"a photo of a banana"`.
        alternatives: Texts that CLIP's choice sets against it.
        labels: Objects of the detector that stand for the concept; a picture shows the concept if it shows any.
        goal: The object that should appear instead, if one should.
        backbone: Feature maps for the perceptual distance, such as `ClipJudge.feature_maps`.

    Raises:
        InputError: If a text is empty, alternatives stand without a concept or a CLIP, or a label or the goal is no
            object of the detector's.
    """

    detector: Detector | None = None
    clip: ClipJudge | None = None
    concept: str | None = None
    alternatives: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    goal: str | None = None
    backbone: Backbone | None = None

    def __post_init__(self) -> None:
        if self.alternatives and self.concept is None:
            raise InputError("There are alternatives, but no concept to set them against. Give the concept's text too.")
        texts = [] if self.concept is None else [self.concept, *self.alternatives]
        empty = next((text for text in texts if not text.strip()), None)
        if empty is not None:
            raise InputError(
                f"The concept is {self.concept!r} and its alternatives are {list(self.alternatives)}; CLIP can't look "
                "for an empty text. Describe a picture in each, such as 'a photo of a banana'."
            )
        asked = [*self.labels, *([] if self.goal is None else [self.goal])]
        if asked and self.detector is None:
            raise InputError(
                f"{asked[0]!r} is to be found in pictures, but there is no detector. Name one, or leave the labels and "
                "the goal out: CLIP judges the concept by its text and alternatives."
            )
        strange = [] if not asked else [name for name in asked if name not in self.objects]
        if strange:
            raise InputError(
                f"The detector knows no {strange[0]!r}; it knows {', '.join(sorted(self.objects))}. Name one of these, "
                "or leave the labels empty: CLIP then judges the concept by its text and alternatives."
            )

    @cached_property
    def objects(self) -> frozenset[str]:
        """What the detector knows; empty without one."""
        return frozenset() if self.detector is None else known_objects(self.detector)

    @cached_property
    def choice(self) -> torch.Tensor | None:
        """(k, d) CLIP's features of the concept and its alternatives; `None` without CLIP or concept."""
        if self.clip is None or self.concept is None:
            return None
        return self.clip.text_features([self.concept, *self.alternatives])

    def see(self, images: Sequence[Image.Image]) -> View:
        """Look at n pictures.

        Args:
            images: PIL pictures, one or more.

        Returns:
            What is seen.
        """
        detection = None if self.detector is None else self.detector(images)
        features = None if self.clip is None else self.clip.image_features(images)
        by_detector = by_clip = None
        if detection is not None and self.labels:
            by_detector = presence_matrix(detection.probabilities, self.labels).any(dim=1)
        if self.clip is not None and features is not None and self.choice is not None and self.alternatives:
            by_clip = zero_shot(features, self.choice, self.clip.logit_scale).argmax(dim=1) == 0
        maps = None if self.backbone is None else self.backbone(images)
        return View(images, detection, features, maps, by_detector, by_clip)
