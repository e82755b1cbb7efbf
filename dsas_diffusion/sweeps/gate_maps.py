"""Where the gates of a sweep's steering are open: maps over mixed pictures, and how well they find the concept."""

from typing import Any, Final

from torch.nn import functional as F

from ..evaluation.gate_localisation import GateLocalisation
from ..evaluation.gate_pictures import tinted
from .steering import Steering
from .unit import Arena, save_picture

KIND: Final = "mixed"


def localised(arena: Arena, technique: Steering, name: str) -> dict[str, Any]:
    """Compare gate maps over mixed held-out pictures, drawn at λ = 0, with the detector's heat map of the concept.

    The first few are kept as pictures, in the sweep's folder under `maps/<task>/<technique>`.

    Args:
        arena: The task.
        technique: The steering, prepared, of one concept.
        name: The technique's, in the plan.

    Returns:
        `"gate_auroc"` and `"gate_iou"`; nothing where there is no detector, place or concept to tell.

    Raises:
        InputError: If the maps can't be written.
    """
    detector, label = arena.judge.detector, next(iter(arena.judge.labels), None)
    blind = (
        technique.gate == "always" or len(technique.steerers) != 1 or not technique.steerers[0].host(arena.pipe).draws
    )
    if detector is None or label is None or blind or KIND not in arena.prompts["heldout"]:
        return {}
    measure = GateLocalisation(detector, label)
    for start in arena.batches("heldout", KIND):
        with technique.steerers[0].attached(arena.pipe, 0.0, record_gates=True) as run:
            images = arena.draw("heldout", KIND, 0, start)
        maps = measure.update(images, run)
        for number in range(max(0, min(len(images), arena.plan.pictures.kept - start))):
            heat = F.interpolate(maps[number][None, None], images[number].size[::-1], mode="bilinear")[0, 0]
            save_picture(
                arena.folder / "maps" / arena.name / name / f"{start + number:03d}.png", tinted(images[number], heat)
            )
    return measure.compute()
