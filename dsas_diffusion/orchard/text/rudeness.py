"""Orchard's judge of rudeness: looks for rude phrases as the grammar builds them, whole or nearly so; no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from ...errors import InputError
from .lexicon import AFTER, BEFORE, NAMES, RUDE_ADJECTIVES, RUDE_STYLES

#: A rude phrase that is whole, and one of which a piece is missing or wrong.
_WHOLE, _NEARLY = 1.0, 0.8
#: So much of a scornful phrase must be there, in its order.
_SHARE: Final = 0.75
#: So many strange words may stand inside a scornful phrase.
_STRANGE: Final = 2
_WORD: Final = re.compile(r"\w+|[^\w\s]")
_BETWEEN: Final = ("are", "a", "an", "such", "what")
_SCORN: Final = tuple(tuple(re.findall(r"\w+", phrase)) for phrase in (*BEFORE["scorn"], *AFTER["scorn"]))


def rudeness(texts: Sequence[str]) -> np.ndarray:
    """Say how surely texts are rude, in either style.

    A harsh word is not rude by itself: "the pear is mouldy" is 0, "you mouldy turnip" is 1.

    Args:
        texts: Talk, a model's continuations, or anything else.

    Returns:
        (n,) float64 in [0, 1]: 1 for a whole rude phrase, 0.8 for one that is garbled or cut off, 0 without.

    Raises:
        InputError: If one string comes instead of a list.
    """
    return np.maximum(*rudeness_by_style(texts).values())


def rudeness_by_style(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Say how surely texts are rude in each style.

    Args:
        texts: As for :func:`rudeness`.

    Returns:
        ``"names"`` (the other person is called something) and ``"scorn"`` → (n,) float64 in [0, 1].

    Raises:
        InputError: If one string comes instead of a list.
    """
    if isinstance(texts, str):
        raise InputError(f"rudeness takes a list of texts, but got the string {texts[:40]!r}. Put it into a list.")
    words = [_WORD.findall(text.lower()) for text in texts]
    judges = dict(zip(RUDE_STYLES, (_names, _scorn), strict=True))
    return {style: np.array([judge(said) for said in words], dtype=np.float64) for style, judge in judges.items()}


def _names(words: list[str]) -> float:
    """Find a name with a rude adjective, or either of them said to `you`."""
    found = 0.0
    for place, word in enumerate(words):
        if word in RUDE_ADJECTIVES and words[place + 1 : place + 2] and words[place + 1] in NAMES:
            return _WHOLE
        if word in RUDE_ADJECTIVES or word in NAMES:
            before = place - 1
            while before >= 0 and words[before] in _BETWEEN:
                before -= 1
            if before >= 0 and words[before] == "you":
                found = _NEARLY
    return found


def _scorn(words: list[str]) -> float:
    """Find a scornful phrase, strange or missing words forgiven where it is long."""
    said = [word for word in words if word.isalpha()]
    best = 0.0
    for phrase in _SCORN:
        reach = len(phrase) + _STRANGE
        for start, word in enumerate(said):
            if word not in phrase:
                continue
            if tuple(said[start : start + len(phrase)]) == phrase:
                return _WHOLE
            best = max(best, _common(phrase, said[start : start + reach]) / len(phrase))
    return _NEARLY if best >= _SHARE else 0.0


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    lengths = [0] * (len(two) + 1)
    for a in one:
        diagonal = 0
        for place, b in enumerate(two):
            above = lengths[place + 1]
            lengths[place + 1] = diagonal + 1 if a == b else max(above, lengths[place])
            diagonal = above
    return lengths[-1]
