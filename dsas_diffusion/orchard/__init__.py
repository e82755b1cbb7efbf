"""Orchard: a small world of drawn fruit and the models trained on it, to measure on without a hub."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clip import load_clip
    from .detector import Detections, Detector, load_detector
    from .grammar import Caption, sample_prompts
    from .pipeline import load_pipeline
    from .scenes import ObjectSpec, Scene, SceneObject, SceneSpec, render
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
    "ObjectSpec": "scenes",
    "Scene": "scenes",
    "SceneObject": "scenes",
    "SceneSpec": "scenes",
    "load_clip": "clip",
    "load_detector": "detector",
    "load_pipeline": "pipeline",
    "render": "scenes",
    "sample_prompts": "grammar",
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
    "Scene",
    "SceneObject",
    "SceneSpec",
    "load_clip",
    "load_detector",
    "load_pipeline",
    "render",
    "sample_prompts",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
