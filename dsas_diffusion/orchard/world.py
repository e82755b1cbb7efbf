"""The names of Orchard's world: objects, attributes, grounds, looks, and the seed ranges of each purpose."""

from __future__ import annotations

from typing import Final

from ..errors import InputError

#: The ten objects, in the order that every label vector of Orchard uses.
OBJECTS: Final = ("banana", "apple", "pear", "orange", "lemon", "grapes", "strawberry", "carrot", "cup", "book")
#: What the open phrases (``a fruit``, ``some fruit``) may stand for.
FRUITS: Final = ("banana", "apple", "pear", "orange", "lemon", "grapes", "strawberry")
#: The colours that a caption can name, for the objects that come in more than one.
OBJECT_COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "apple": ("red", "green"),
    "pear": ("green", "yellow"),
    "grapes": ("purple", "green"),
    "cup": ("white", "red", "blue"),
    "book": ("red", "blue"),
}
SIZES: Final = ("small", "medium", "big")
PLACES: Final = ("left", "right", "top", "bottom", "centre")
#: The table under the objects. There is no white one: yellow things vanish on it.
GROUNDS: Final = ("wooden", "blue", "green", "grey", "pink")
LOOKS: Final = ("photo", "blurry", "sketch")

IMAGE_SIZE: Final = 64

#: Disjoint ranges of scene seeds, so that no model is judged on a scene that trained it or its judge.
SEEDS: Final[dict[str, range]] = {
    "generator-train": range(10_000_000),
    "detector-train": range(10_000_000, 20_000_000),
    "clip-train": range(20_000_000, 30_000_000),
    "tuning": range(30_000_000, 31_000_000),
    "evaluation": range(31_000_000, 32_000_000),
    "test": range(32_000_000, 33_000_000),
}


def check_name(kind: str, name: str, accepted: tuple[str, ...]) -> str:
    """Return ``name`` if it is one of ``accepted``.

    Args:
        kind: What is named, for the message: ``"object"``, ``"look"`` and so on.
        name: The name that came.
        accepted: The names that exist.

    Raises:
        InputError: If the name is unknown.
    """
    if name not in accepted:
        raise InputError(f"Orchard has no {kind} called {name!r}. Choose one of: {', '.join(accepted)}.")
    return name
