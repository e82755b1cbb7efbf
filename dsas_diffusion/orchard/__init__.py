"""Orchard: a small world of drawn fruit and the models trained on it, to measure on without a hub."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clip import load_clip
    from .detector import Detections, Detector, load_detector
    from .grammar import Caption, sample_prompts
    from .language import load_language_model
    from .pipeline import load_pipeline
    from .scenes import Scene, SceneObject, render
    from .specs import ObjectSpec, SceneSpec
    from .text.questions import Question, four_way_questions
    from .text.rudeness import rudeness, rudeness_by_style
    from .text.texts import Text, sample_text
    from .world import FRUITS, GROUNDS, IMAGE_SIZE, LOOKS, OBJECT_COLOURS, OBJECTS, PLACES, SEEDS, SIZES

# Name → module that holds it, imported when the name is first asked for (PEP 562): torch loads only when needed.
_HOMES = {
    "FRUITS": "world",
    "GROUNDS": "world",
    "IMAGE_SIZE": "world",
    "LOOKS": "world",
    "OBJECTS": "world",
    "OBJECT_COLOURS": "world",
    "PLACES": "world",
    "SEEDS": "world",
    "SIZES": "world",
    "Caption": "grammar",
    "Detections": "detector",
    "Detector": "detector",
    "ObjectSpec": "specs",
    "Question": "text.questions",
    "Scene": "scenes",
    "SceneObject": "scenes",
    "SceneSpec": "specs",
    "Text": "text.texts",
    "four_way_questions": "text.questions",
    "load_clip": "clip",
    "load_detector": "detector",
    "load_language_model": "language",
    "load_pipeline": "pipeline",
    "render": "scenes",
    "rudeness": "text.rudeness",
    "rudeness_by_style": "text.rudeness",
    "sample_prompts": "grammar",
    "sample_text": "text.texts",
}

__all__ = [
    "FRUITS",
    "GROUNDS",
    "IMAGE_SIZE",
    "LOOKS",
    "OBJECTS",
    "OBJECT_COLOURS",
    "PLACES",
    "SEEDS",
    "SIZES",
    "Caption",
    "Detections",
    "Detector",
    "ObjectSpec",
    "Question",
    "Scene",
    "SceneObject",
    "SceneSpec",
    "Text",
    "four_way_questions",
    "load_clip",
    "load_detector",
    "load_language_model",
    "load_pipeline",
    "render",
    "rudeness",
    "rudeness_by_style",
    "sample_prompts",
    "sample_text",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
