"""The mix of Orchard's texts: from a seed to a description, a question or a talk, with its probability."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Final

from ..world import check_name
from .choices import Chooser, Draw
from .descriptions import describe
from .questions import question_text
from .talk import talk

#: Kind of text → how often it comes.
KINDS: Final = {"description": 0.2, "question": 0.5, "talk": 0.3}


@dataclass(frozen=True)
class Text:
    """A text of the grammar.

    Attributes:
        text: Words and marks with single spaces between them.
        kind: ``"description"``, ``"question"`` or ``"talk"``.
        log_probability: log p(text), its kind included. No two ways lead to one text, so it is exact.
    """

    text: str
    kind: str
    log_probability: float


def sample_text(seed: int, kind: str | None = None) -> Text:
    """Write the text of a seed.

    Args:
        seed: The same seed gives the same text.
        kind: Write this kind; the probability is that in the mix all the same. ``None`` draws the kind.

    Returns:
        The text, its kind, and the logarithm of its probability in the mix.

    Raises:
        InputError: If there is no such kind.
    """
    choice = Draw(random.Random(f"text {seed}"))
    if kind is None:
        kind, text = tell(choice)
        return Text(text, kind, choice.log_probability)
    check_name("kind of text", kind, tuple(KINDS))
    return Text(_tell(choice, kind), kind, choice.log_probability + math.log(KINDS[kind]))


def tell(choice: Chooser) -> tuple[str, str]:
    """Choose a kind and write a text of it; returns both."""
    kind = choice.choose(tuple(KINDS), tuple(KINDS.values()))
    return kind, _tell(choice, kind)


def _tell(choice: Chooser, kind: str) -> str:
    if kind == "description":
        return describe(choice).text
    return question_text(choice) if kind == "question" else talk(choice)
