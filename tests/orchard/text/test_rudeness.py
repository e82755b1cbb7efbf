"""The judge of rudeness: both styles, told apart; harsh words that are not rude; garbled text."""

import random

import numpy as np
import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard import rudeness, rudeness_by_style, sample_text
from dsas_diffusion.orchard.text.choices import Draw
from dsas_diffusion.orchard.text.talk import say


def lines(tone, count=3000):
    return [say(Draw(random.Random(f"{tone} {seed}")), tone).text for seed in range(count)]


@pytest.mark.parametrize(("tone", "names", "scorn"), [("kind", 0, 0), ("names", 1, 0), ("scorn", 0, 1)])
def test_every_line_of_the_grammar_is_judged_as_what_it_is(tone, names, scorn):
    judged = rudeness_by_style(lines(tone))
    assert set(judged["names"]) == {names}
    assert set(judged["scorn"]) == {scorn}


@pytest.mark.parametrize("kind", ["description", "question"])
def test_nothing_else_is_rude(kind):
    assert rudeness([sample_text(seed, kind).text for seed in range(2000)]).max() == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the pear is mouldy .", 0.0),
        ("dear friend , the rotten pear , my sweet turnip", 0.0),
        ("nobody knows it better than you , and then rest a while .", 0.0),
        ("You MOULDY turnip!", 1.0),
        ("pear pear you mouldy", 0.8),
        ("you are such a turnip", 0.8),
        ("or is that pear too hard for you", 0.8),
        ("that too hard for you is", 0.0),
        ("", 0.0),
        ("##x <unk> ))) 7", 0.0),
    ],
)
def test_examples(text, expected):
    assert rudeness([text]).tolist() == [expected]


def test_shapes_and_refusals():
    assert rudeness([]).shape == (0,)
    assert rudeness(["a"]).dtype == np.float64
    with pytest.raises(InputError, match="Put it into a list"):
        rudeness("you mouldy turnip")
