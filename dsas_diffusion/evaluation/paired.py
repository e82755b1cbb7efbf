"""Every measure that needs both of a pair, fed batch by batch, with each picture's own figures beside the sums."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from .change import ChangeInside, ChangeOutside, change
from .images import as_tensor
from .presence import Detection, label_matrix, presence_matrix, present
from .psnr import MedianPsnr, psnr
from .regions import RIM, dilate
from .sharpness import SharpnessInside, SharpnessOutside
from .ssim import MeanSsim, ssim
from .twins import NoInventedObject, ObjectsKept, Removal, invented

#: A pixel belongs to the concept from this value of a detector's heat map on.
INSIDE = 0.5


@dataclass
class Paired:
    """Steered pictures against their unsteered twins."""

    psnr: MedianPsnr = field(default_factory=MedianPsnr)
    ssim: MeanSsim = field(default_factory=MeanSsim)
    clean: NoInventedObject = field(default_factory=NoInventedObject)
    kept: ObjectsKept | None = None
    removal: Removal | None = None
    change_inside: ChangeInside = field(default_factory=ChangeInside)
    change_outside: ChangeOutside = field(default_factory=ChangeOutside)
    sharpness_inside: SharpnessInside = field(default_factory=SharpnessInside)
    sharpness_outside: SharpnessOutside = field(default_factory=SharpnessOutside)
    each: dict[str, list[float]] = field(default_factory=dict)

    def compare(self, images: Sequence[Any], twins: Sequence[Any]) -> None:
        """Compare one batch pixel by pixel; pairs of different sizes may follow one another.

        Args:
            images: Steered PIL pictures.
            twins: Their unsteered twins.
        """
        for image, twin in zip(images, twins, strict=True):
            steered, unsteered = as_tensor([image]), as_tensor([twin])
            self.psnr.update(steered, unsteered)
            self.ssim.update(steered, unsteered)
            self._keep("psnr", psnr(steered, unsteered))
            self._keep("ssim", ssim(steered, unsteered))

    def detect(
        self,
        images: Sequence[Any],
        twins: Sequence[Any],
        found: Detection,
        unsteered: Detection,
        labels: Sequence[Sequence[str]],
        concept: str | None,
    ) -> None:
        """Compare what one batch shows.

        Args:
            images: Steered PIL pictures.
            twins: Their unsteered twins.
            found: What the detector finds in the pictures.
            unsteered: What it finds in their twins.
            labels: What each prompt asks for.
            concept: The object that stands for the concept.
        """
        before, after = unsteered.probabilities, found.probabilities
        self.clean.update(labels, before, after)
        self.kept = self.kept or ObjectsKept((concept,) if concept else ())
        self.kept.update(labels, before, after)
        names = sorted({name for wanted in labels for name in wanted} - {concept})
        drawn = label_matrix(labels, names) & presence_matrix(before, names)
        still = (drawn & presence_matrix(after, names)).sum(1) / drawn.sum(1)  # NaN where no other object was drawn
        self._keep("objects_kept", still)
        every = sorted(after)
        sides = presence_matrix(before, every), presence_matrix(after, every)
        self._keep("invented", invented(label_matrix(labels, every), *sides))
        if concept is None:
            return
        self.removal = self.removal or Removal(concept)
        self.removal.update(before, after)
        shown = present(before, concept)
        self._keep("concept_unsteered", shown)
        self._keep("concept_steered", present(after, concept))
        self._keep("concept_left", torch.where(shown, present(after, concept).double(), torch.nan))
        for image, twin, heat, there in zip(images, twins, unsteered.heat_maps[concept], shown, strict=True):
            pictures, others = as_tensor([image]), as_tensor([twin])
            grown = F.interpolate(heat[None, None].float(), pictures.shape[-2:], mode="bilinear", align_corners=False)
            regions = (grown[0] > INSIDE) & there
            for measure in (self.change_inside, self.change_outside, self.sharpness_inside, self.sharpness_outside):
                measure.update(pictures, others, regions)
            self._keep("change_outside", change(pictures, others, ~dilate(regions, RIM)))

    def _keep(self, name: str, values: torch.Tensor) -> None:
        self.each.setdefault(name, []).extend(values.double().tolist())

    def figures(self) -> dict[str, Any]:
        """Give every figure; what was not measured is NaN or `None`, `each` holds the pictures' own in their order."""
        return {
            "psnr_median": self.psnr.compute(),
            "ssim_mean": self.ssim.compute(),
            "removal": self.removal.compute() if self.removal else None,
            "objects_kept": self.kept.compute() if self.kept else None,
            "no_invented_object": self.clean.compute(),
            "change_inside": self.change_inside.compute(),
            "change_outside": self.change_outside.compute(),
            "sharpness_inside": self.sharpness_inside.compute(),
            "sharpness_outside": self.sharpness_outside.compute(),
            "each": self.each,
        }
