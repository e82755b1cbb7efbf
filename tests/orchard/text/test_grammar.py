"""Texts: probabilities are exact, texts are a function of their seed, what is held out is never asked in training."""

import math
import random
import re
from dataclasses import replace
from functools import partial

import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard import four_way_questions, sample_text
from dsas_diffusion.orchard.text import descriptions, questions, talk
from dsas_diffusion.orchard.text.choices import Draw, every
from dsas_diffusion.orchard.text.descriptions import Thing, describe
from dsas_diffusion.orchard.text.lexicon import COLOURS_OF, CONDITIONS_OF, TONES
from dsas_diffusion.orchard.text.questions import KINDS, ask, keys
from dsas_diffusion.orchard.text.texts import KINDS as MIX
from dsas_diffusion.orchard.world import SEEDS


def check_exact(told, seeds=300):
    """All texts differ, their probabilities sum to 1, and drawing tells the same ones."""
    everything = list(every(told))
    known = dict(everything)
    assert len(known) == len(everything)
    assert math.fsum(math.exp(p) for p in known.values()) == pytest.approx(1, abs=1e-9)
    for seed in range(seeds):
        draw = Draw(random.Random(seed))
        assert known[told(draw)] == pytest.approx(draw.log_probability, abs=1e-9)


@pytest.fixture
def small_world(monkeypatch):
    """So few words that everything that can be said fits into a list."""
    monkeypatch.setattr(descriptions, "CONDITIONS_OF", {"cup": ("clean", "cracked"), "banana": ("ripe",)})
    monkeypatch.setattr(descriptions, "RELATIONS", {"above": "below", "below": "above"})
    monkeypatch.setattr(descriptions, "GROUNDS", ("blue", "pink"))
    monkeypatch.setattr(talk, "CONDITIONS_OF", {"cup": ("clean", "cracked"), "banana": ("ripe",)})
    monkeypatch.setattr(talk, "NAMES", ("turnip", "sprout"))
    monkeypatch.setattr(talk, "KIND_ADJECTIVES", ("sweet", "kind"))
    monkeypatch.setattr(talk, "RUDE_ADJECTIVES", ("mouldy", "soggy"))


@pytest.mark.usefixtures("small_world")
def test_descriptions_have_exact_probabilities():
    check_exact(lambda choice: describe(choice, objects=("cup", "banana")).text)


@pytest.mark.usefixtures("small_world")
@pytest.mark.parametrize("tone", TONES)
def test_lines_have_exact_probabilities(tone):
    told = describe(Draw(random.Random(3)), Thing("cup"), partner="banana", ground="pink")
    check_exact(lambda choice: talk.say(choice, tone, told, "banana").text)


@pytest.mark.usefixtures("small_world")
@pytest.mark.parametrize("kind", ["table", "on the table", "relation"])
def test_questions_about_scenes_have_exact_probabilities(kind, monkeypatch):
    asked = [
        questions.Key(kind, name, {"table": "pink", "on the table": name, "relation": other}[kind], "pink", other)
        for name, other in (("cup", "banana"), ("banana", "cup"))
    ]
    monkeypatch.setattr(questions, "keys", lambda *_: asked)
    monkeypatch.setattr(questions, "describe", partial(describe, objects=("cup", "banana")))

    def told(choice):
        text, key, _ = questions._ask(choice, {kind: 1.0}, unseen=False)
        return f"{text} {key.answer}"

    check_exact(told)


def test_questions_about_the_world_have_exact_probabilities():
    check_exact(lambda choice: questions._answered(choice, {"never": 0.6, "can be": 0.4}))


def test_the_mix_holds_and_its_probabilities_are_the_texts_own():
    texts = [sample_text(seed) for seed in range(4000)]
    for kind, share in MIX.items():
        assert sum(text.kind == kind for text in texts) / len(texts) == pytest.approx(share, abs=0.03)
    # Texts that often come: their frequency is their probability.
    empty = next(text for text in texts if text.text == "the blue table is empty .")
    count = sum(text.text == empty.text for text in texts)
    expected = len(texts) * math.exp(empty.log_probability)
    assert abs(count - expected) < 5 * math.sqrt(expected)


def test_a_text_is_a_function_of_its_seed():
    assert [sample_text(seed) for seed in range(50)] == [sample_text(seed) for seed in range(50)]
    assert sample_text(1, "talk") == sample_text(1, "talk")
    assert sample_text(1, "talk").kind == "talk"
    assert len({sample_text(seed).text for seed in range(200)}) > 180


def test_descriptions_fit_the_world():
    for seed in range(2000):
        told = describe(Draw(random.Random(seed)))
        for thing in told.things:
            assert thing.colour in ("", *COLOURS_OF[thing.name])
            assert thing.condition in ("", *CONDITIONS_OF[thing.name])
        assert not re.search(r"\ba [aeio]|\ban [^aeio]|  ", told.text), told.text
        assert told.text.startswith(told.opening)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_out_is_never_asked_in_training(kind):
    unseen, seen = keys(kind, True), keys(kind, False)
    assert unseen
    combined = ({(replace(key, places=()), place) for key in group for place in key.places} for group in (unseen, seen))
    assert not set.intersection(*combined)
    # Nothing is asked of which training tells nothing.
    assert {key.answer for key in unseen} <= {key.answer for key in seen}
    assert {key.about for key in unseen} <= {key.about for key in seen}
    # No answer can be known from the object alone, because training knows no other one.
    assert {(key.about, key.answer) for key in unseen} <= {(key.about, key.answer) for key in seen}


def test_four_answers_one_right():
    for seed in range(3000):
        asked = ask(Draw(random.Random(seed)), unseen=seed % 2 == 0)
        assert len(set(asked.choices)) == 4
        right = asked.choices[asked.answer]
        scene, _, question = asked.text.rpartition("question : ")
        if asked.kind in ("colour", "condition"):
            name = question.split()[-2]
            said = {*re.findall(rf"(\w+)(?= {name}\b)", scene), *re.findall(rf"the {name} (?:is|are) (\w+) \.", scene)}
            assert [choice for choice in asked.choices if choice in said] == [right], asked.full
        if asked.kind == "table":
            assert f"{right} table" in scene
        if asked.kind in ("on the table", "relation"):
            assert right in scene.split()
        if asked.kind == "on the table":
            wrong = {*asked.choices} - {right, "orange"}  # something else may be of orange colour
            assert not wrong & {*scene.split()}
        assert asked.full == f"{asked.prompt} {right} ."
    answers = [ask(Draw(random.Random(seed))).answer for seed in range(2000)]
    assert all(answers.count(place) > 400 for place in range(4))


def test_four_way_questions_come_from_their_split():
    assert four_way_questions(20) == four_way_questions(20)
    assert four_way_questions(20)[5:] == four_way_questions(15, first=5)
    assert four_way_questions(20) != four_way_questions(20, "tuning")
    with pytest.raises(InputError, match="no split of questions called 'generator-train'"):
        four_way_questions(5, "generator-train")
    with pytest.raises(InputError, match="leaves room"):
        four_way_questions(2, first=len(SEEDS["test"]) - 1)


@pytest.mark.parametrize(
    ("tone", "after", "share"), [("names", "strong", 0.94), ("scorn", "mild", 0.84), ("kind", "kind", 0.04)]
)
def test_replies_take_the_tone_of_the_line_before(tone, after, share):
    lines = (talk.opening(Draw(random.Random(seed)), tone).line for seed in range(2000))
    line = next(line for line in lines if line.strength == after)
    tones = [talk.next_tone(Draw(random.Random(seed)), line) for seed in range(4000)]
    rude = [tone for tone in tones if tone != "kind"]
    assert len(rude) / len(tones) == pytest.approx(share, abs=0.02)
    if tone != "kind":
        assert rude.count(tone) / len(rude) == pytest.approx(0.8, abs=0.03)
