"""Judges of pictures by the names that people type: Orchard's, or any open_clip model."""

from typing import Literal

import torch

from .calibration import Shows
from .errors import InputError
from .evaluation.clip_judge import ClipJudge
from .evaluation.presence import Detector, present
from .prompts import PromptSet


def clip_judge(name: str, device: str | torch.device = "cpu", batch_size: int = 32) -> ClipJudge | None:
    """Load the CLIP judge that a name stands for.

    Args:
        name: `"orchard"`, `"none"`, or what `load_open_clip` takes: a folder, `hf-hub:owner/name`, `ViT-B-32:TAG`.
        device: Where to compute.
        batch_size: Pictures or texts at a time.

    Returns:
        The judge; `None` for `"none"`.

    Raises:
        InputError: If there is no such model, or it can't be loaded.
    """
    if name == "none":
        return None
    if name != "orchard":
        return ClipJudge.load(name, device=device, batch_size=batch_size)
    from . import orchard

    return ClipJudge(*orchard.load_clip(), device=device, batch_size=batch_size, name="orchard")


def detector_judge(name: Literal["orchard", "none"], device: str | torch.device = "cpu") -> Detector | None:
    """Load the detector that a name stands for.

    Args:
        name: `"orchard"` or `"none"`.
        device: Where to compute.

    Returns:
        The detector; `None` for `"none"`.

    Raises:
        InputError: If its weights can't be loaded.
    """
    if name == "none":
        return None
    from . import orchard

    return orchard.load_detector(device=device)


def concept_judge(name: str, concept: PromptSet, device: str | torch.device = "cpu") -> Shows:
    """Make what tells which pictures show a concept.

    Args:
        name: `"detector"` for Orchard's, or a CLIP as for :func:`clip_judge`, whose zero-shot choice among the
            concept's text and its alternatives counts.
        concept: The set whose label or texts are looked for.
        device: Where to compute.

    Raises:
        InputError: If the detector does not know the label, there is no text to choose from, or there is no such model.
    """
    about = concept.concept
    if name == "detector":
        from . import orchard

        if about.label not in orchard.OBJECTS:
            raise InputError(
                f"Orchard's detector knows no {about.label!r}. Name a CLIP as the judge, such as "
                "ViT-B-32:laion2b_s34b_b79k."
            )
        detector = orchard.load_detector(device=device)
        return lambda images: present(detector(images).probabilities, about.label)
    judge = clip_judge(name, device)
    if judge is None or not about.alternatives:
        raise InputError(
            f"A CLIP that judges needs texts to choose from, but the prompt set {concept.name!r} names no alternatives "
            "in its concept.json, or the judge is none."
        )
    texts = [about.text, *about.alternatives]
    return lambda images: judge.zero_shot(images, texts).argmax(1) == 0
