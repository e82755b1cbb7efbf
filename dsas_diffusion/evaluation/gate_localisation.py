"""How well gates find the concept: their maps against a detector's heat map, picture by picture."""

from collections.abc import Sequence

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..hooks.attachment import Attachment
from .localisation import LocalisationAuroc, MeanIou
from .paired import INSIDE
from .presence import Detector, present


class GateLocalisation:
    """Gate maps of pictures that were drawn with λ = 0, against where a detector sees the concept in them.

    Args:
        detector: What says where.
        label: The concept among its labels.
    """

    def __init__(self, detector: Detector, label: str) -> None:
        self.detector, self.label = detector, label
        self._auroc, self._iou = LocalisationAuroc(), MeanIou()

    def update(self, images: Sequence[Image.Image], run: Attachment) -> Float[Tensor, "batch height width"]:
        """Take pictures in; those on which the detector sees no concept count for nothing.

        Args:
            images: The pictures.
            run: The attachment that recorded the gates while they were drawn, and of no others.

        Returns:
            The maps, in [0, 1], at the size of the detector's heat maps.
        """
        found = self.detector(list(images))
        shown = present(found.probabilities, self.label).cpu()
        regions = found.heat_maps[self.label].cpu() > INSIDE
        height, width = regions.shape[-2:]
        maps = run.concept_map(height, width)
        for measure in (self._auroc, self._iou):
            measure.update(maps[shown], regions[shown])
        return maps

    def compute(self) -> dict[str, float]:
        """Give `"gate_auroc"` and `"gate_iou"`, see `localisation_auroc` and `iou`; NaN without a picture."""
        return {"gate_auroc": self._auroc.compute(), "gate_iou": self._iou.compute()}
