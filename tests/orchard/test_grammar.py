"""Captions: what they ask for, the ways that name nothing, and one token a word."""

import json
import pickle
import random
import re
import subprocess
import sys

import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard.grammar import UNNAMED, Caption, caption_of, noun_phrase, sample_prompts, words
from dsas_diffusion.orchard.specs import ObjectSpec, sample_spec
from dsas_diffusion.orchard.tokenizer import MAX_TOKENS, build_tokenizer, tokenizer_of_run
from dsas_diffusion.orchard.world import OBJECTS


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_the_same_seed_gives_the_same_prompts():
    assert sample_prompts(50, 4) == sample_prompts(50, 4)
    assert sample_prompts(50, 4) != sample_prompts(50, 5)
    assert sample_prompts(0, 4) == []


def test_a_caption_knows_what_it_asks_for_and_can_be_pickled():
    for caption in sample_prompts(300, 2):
        assert caption.objects == (() if caption.open_fruits else caption.spec.names)
        copy = pickle.loads(pickle.dumps(caption))
        assert isinstance(copy, Caption)
        assert copy == caption
        assert vars(copy) == vars(caption)


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("way", UNNAMED)
def test_unnamed_ways_never_say_the_name(name, way):
    own = re.compile(rf"\b{name.rstrip('s')}(s|es)?\b")
    thing = ObjectSpec(name)
    for choice in range(len(UNNAMED[way][name])):
        for seed in range(8):
            assert not own.search(noun_phrase(thing, way, random.Random(seed), size=True, colour=True, choice=choice))


def test_every_named_prompt_names_its_objects():
    for caption in sample_prompts(500, 3):
        for name in caption.objects:
            said = re.search(rf"\b{name.removesuffix('y')}", caption) is not None
            if caption.named:
                assert said, caption


def test_the_look_is_always_said():
    for caption in sample_prompts(500, 6):
        start = re.match(r"(a|an) (blurry|unfocused|out of focus|sketch|drawing|outline)\b", caption)
        if caption.spec.look == "photo":
            assert start is None or any(thing.blurred for thing in caption.spec.objects), caption
        else:
            assert start, caption


def test_one_object_can_be_described_without_its_name_from_a_scene():
    rng = random.Random(0)
    spec = next(s for s in iter(lambda: sample_spec(rng), None) if s.names == ("banana",))
    assert "banana" not in caption_of(spec, rng, ways=["description"])


def test_only_known_objects_are_asked_for():
    assert {n for c in sample_prompts(100, 1, ["cup", "pear"]) for n in c.spec.names} == {"cup", "pear"}
    with pytest.raises(InputError, match="kiwi"):
        sample_prompts(1, 1, ["kiwi"])
    with pytest.raises(InputError, match="empty list of objects"):
        sample_prompts(1, 1, [])


def test_every_word_is_one_token(tokenizer):
    for word in words():
        assert len(tokenizer(word).input_ids) == 3, word


def test_unknown_words_fall_into_known_pieces(tokenizer):
    ids = tokenizer("zzyzx 42").input_ids
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[1:-1]


def test_captions_fit_the_text_encoders(tokenizer):
    lengths = [len(ids) for ids in tokenizer([str(c) for c in sample_prompts(4000, 9)]).input_ids]
    assert sum(length > MAX_TOKENS for length in lengths) / len(lengths) <= 0.001


def test_the_same_grammar_gives_the_same_ids_in_another_process(tokenizer):
    program = (
        "import json; from dsas_diffusion.orchard.tokenizer import build_tokenizer;"
        "print(json.dumps(build_tokenizer().get_vocab()))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == tokenizer.get_vocab()


def test_a_run_keeps_its_tokenizer(tmp_path, tokenizer):
    assert tokenizer_of_run(tmp_path, tokenizer).get_vocab() == tokenizer.get_vocab()
    assert tokenizer_of_run(tmp_path).get_vocab() == tokenizer.get_vocab()
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "state.pt").touch()
    with pytest.raises(InputError, match="not the tokenizer that they were trained with"):
        tokenizer_of_run(tmp_path / "other")
