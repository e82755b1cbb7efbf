"""What the maker of a steerer adds to its model card: figures, a picture or continuations, a licence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from PIL import Image

from ..errors import InputError

#: The picture's name in a steerer's folder.
PICTURE: Final = "picture.png"


@dataclass(frozen=True)
class Continuation:
    """One prompt, and what a language model makes of it.

    Args:
        prompt: The prompt.
        unsteered: What continues it without steering.
        steered: And with it.

    Raises:
        InputError: If one of them is no text.
    """

    prompt: str
    unsteered: str
    steered: str

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, str):
                raise InputError(f"{name} of a continuation must be text, but is {value!r}.")


@dataclass(frozen=True)
class Card:
    """What a model card says beyond what the fit knew; saved and loaded with the steerer.

    Args:
        figures: What was measured → a number, or text as it shall stand there.
        about: How the figures were measured: prompts, strength, sampling settings.
        picture: Pictures without and with steering, say; any Pillow image.
        continuations: Prompts with what continues them without and with steering; of a language model.
        caption: What the picture or the continuations show.
        license: The steerer's licence as the hub spells it, such as `"apache-2.0"`.

    Raises:
        InputError: If a figure is neither a finite number nor text, or another entry is not of its kind.
    """

    figures: Mapping[str, float | str] = field(default_factory=dict)
    about: str = ""
    picture: Image.Image | None = None
    caption: str = ""
    license: str | None = None
    continuations: Sequence[Continuation] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.figures, Mapping):
            raise InputError(f"figures must map what was measured to a number or text, but is {self.figures!r}.")
        for name, value in self.figures.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not isinstance(name, str) or not (number or isinstance(value, str)):
                raise InputError(
                    f"The figure {name!r} is {value!r}, but must be a finite number, or text. Leave out what was not "
                    "measured."
                )
        for name, value in (("about", self.about), ("caption", self.caption), ("license", self.license or "")):
            if not isinstance(value, str):
                raise InputError(f"{name} must be text, but is {value!r}.")
        if isinstance(self.continuations, str) or not all(isinstance(c, Continuation) for c in self.continuations):
            raise InputError(f"continuations must be a list of `Continuation`, but is {self.continuations!r}.")
        if not isinstance(self.picture, Image.Image | None):
            raise InputError(
                f"picture must be a Pillow image, but is a {type(self.picture).__name__}. `PIL.Image.open` gives one."
            )
