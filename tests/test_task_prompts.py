"""Orchard's committed prompt sets of further tasks, and its hard cases: what each must hold."""

import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard.grammar import DESCRIPTIONS, MISSPELLINGS, PLURALS, SYNONYMS
from dsas_diffusion.orchard.tokenizer import MAX_TOKENS, build_tokenizer
from dsas_diffusion.orchard.world import OBJECTS
from dsas_diffusion.prompt_set import FIT_GROUPS, Prompt
from dsas_diffusion.prompts import bundled_cases, bundled_prompts, load_prompts, read_cases

HARD = {"banana": "orchard/hard/banana", "cup": "orchard/hard/cup"}
SPARED = ("look-alike", "negation", "open-fruit")


def phrases(name):
    """Everything that the grammar calls an object, with its article; longer ones first."""
    described = [*DESCRIPTIONS[name], *(f"a {word}" for word in (name, *SYNONYMS[name], *MISSPELLINGS[name]))]
    return sorted(described, key=len, reverse=True)


def words_of(prompts):
    return {word for prompt in prompts for word in prompt.text.lower().replace(",", " ").split()}


def fit_prompts(prompts):
    return [prompt for group in FIT_GROUPS for prompt in getattr(prompts, group)]


def judged_prompts(prompts):
    return [prompt for part in (prompts.tuning, prompts.heldout) for group in part.values() for prompt in group]


def texts(prompts):
    return {prompt.text for prompt in prompts}


def test_two_concepts_are_judged_alone_together_and_beside_others_on_prompts_that_nobody_learned_from():
    both = load_prompts("orchard/banana-apple")
    learned = [prompt for name in ("banana", "apple") for prompt in fit_prompts(load_prompts(f"orchard/{name}"))]
    assert not texts(judged_prompts(both)) & texts(learned)
    for part in (both.tuning, both.heldout):
        by_turns = [("banana",), ("apple",), ("banana", "apple")]
        assert [prompt.labels for prompt in part["source"][:12]] == 4 * by_turns
        assert [prompt.named for prompt in part["source"][:12]] == 2 * (3 * [True] + 3 * [False])
        for prompt in part["mixed"]:
            assert len({"banana", "apple"} & set(prompt.labels)) == 1
            assert len(prompt.labels) == 2
        for prompt in part["control"]:
            assert not {"banana", "apple"} & set(prompt.labels)
    assert not {"banana", "apple"} & {label for prompt in both.target for label in prompt.labels}


def test_a_replacement_has_the_same_scene_word_for_word_and_never_both():
    replaced = load_prompts("orchard/banana-pear")
    for source, target in zip(replaced.source, replaced.target, strict=True):
        assert target.text in {source.text.replace(phrase, "a pear") for phrase in phrases("banana")}
        assert target.labels == tuple("pear" if label == "banana" else label for label in source.labels)
        assert "pear" not in source.labels
    for kind in ("source", "mixed"):
        assert all("pear" not in prompt.labels for prompt in replaced.heldout[kind])
    assert any("pear" in prompt.labels for prompt in replaced.heldout["control"])


def test_induction_goes_from_any_fruit_to_pears_and_spares_what_is_no_fruit():
    induced = load_prompts("orchard/fruit-pear")
    opened = {"a fruit": "a pear", "two fruits": "two pears", "some fruit": "some pears"}
    for source, target in zip(induced.source, induced.target, strict=True):
        phrase = next(phrase for phrase in opened if phrase in source.text)
        assert target.text == source.text.replace(phrase, opened[phrase])
    for group in (induced.source, *(part["source"] for part in (induced.tuning, induced.heldout))):
        assert {phrase for phrase in opened for prompt in group if phrase in prompt.text} == set(opened)
    for prompt in (*induced.control, *induced.heldout["control"]):
        assert set(prompt.labels) <= {"cup", "book", "carrot"}


@pytest.mark.parametrize("name", ["banana", "cup"])
def test_heldout_words_are_in_no_prompt_that_anything_is_learned_or_chosen_from(name):
    concept = load_prompts(f"orchard/{name}-heldout-words")
    seen, unseen = zip(*(table[name] for table in (SYNONYMS, DESCRIPTIONS, MISSPELLINGS)), strict=True)
    before = [*fit_prompts(concept), *(prompt for group in concept.tuning.values() for prompt in group)]
    for kind in ("source", "mixed"):
        for prompt in concept.heldout[kind]:
            assert prompt.named or any(phrase in prompt.text for phrase in unseen)
        for prompt in concept.tuning[kind]:
            assert prompt.named or any(phrase in prompt.text for phrase in seen)
    assert not {word for word in unseen if " " not in word} & words_of(before)
    assert not any(unseen[1] in prompt.text for prompt in before)


def test_more_prompts_begin_from_the_same_ones_and_are_judged_on_the_same():
    few, many = load_prompts("orchard/banana"), load_prompts("orchard/banana-64")
    for group in FIT_GROUPS:
        found = getattr(many, group)
        assert len(texts(found)) == 64
        assert [found[place] for place in range(64) if place % 4 < 2] == list(getattr(few, group))
    assert (many.tuning, many.heldout, many.twins) == (few.tuning, few.heldout, True)
    assert [len(prompt.labels) for prompt in many.source] == [1] * 32 + [2] * 32
    assert [prompt.named for prompt in many.source] == [True, False] * 32
    for source, target in zip(many.source, many.target, strict=True):
        assert set(target.labels) == set(source.labels) - {"banana"}
        frames = [
            text.partition(" of ")[0] for text in (source.text, target.text) if text.startswith(("a photo", "a pic"))
        ]
        assert len(frames) in (0, 2)
        assert len(set(frames)) <= 1
        if " table" in source.text:
            assert source.text.split()[-2:] == target.text.split()[-2:]


def test_a_random_control_set_has_every_look_and_word_but_no_banana():
    known, other = load_prompts("orchard/banana"), load_prompts("orchard/banana-random-control")
    assert (other.source, other.target, other.tuning, other.heldout) == (
        known.source, known.target, known.tuning, known.heldout,
    )  # fmt: skip
    assert {"blurry", "sketch"} < {label for prompt in other.control for label in prompt.labels}
    assert {prompt.named for prompt in other.control} == {True, False}
    said = words_of(other.control)
    assert not {"banana", "bananas", *SYNONYMS["banana"], *MISSPELLINGS["banana"]} & said
    assert not any(phrase in prompt.text for prompt in other.control for phrase in DESCRIPTIONS["banana"])
    assert all(set(prompt.labels) & set(OBJECTS) or "empty" in prompt.text for prompt in other.control)
    assert not texts(other.control) & {prompt.text for group in known.groups().values() for prompt in group}


def test_hard_cases_are_found_by_name_from_anywhere_and_are_no_prompt_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundled_cases() == sorted(HARD.values())
    assert not set(HARD.values()) & set(bundled_prompts())
    assert {prompt.labels for prompt in read_cases("orchard/hard/banana")["look-alike"]} == {("lemon",), ("pear",)}
    (tmp_path / "own.jsonl").write_text('{"prompt": "a plantain", "labels": ["banana"], "case": "synonym"}\n')
    assert read_cases("own.jsonl") == {"synonym": (Prompt("a plantain", ("banana",)),)}
    with pytest.raises(InputError, match=r"no cases 'orchard/hard/banan'.*Did you mean 'orchard/hard/banana'\?"):
        read_cases("orchard/hard/banan")
    (tmp_path / "own.jsonl").write_text('{"prompt": "a plantain"}\n')
    with pytest.raises(InputError, match=r"own\.jsonl, line 1: the field 'case' is None"):
        read_cases(tmp_path / "own.jsonl")


@pytest.mark.parametrize("name", HARD)
def test_hard_cases_are_many_held_out_and_spelled_by_the_tokenizer(name):
    cases = read_cases(HARD[name])
    sets = [load_prompts(found) for found in bundled_prompts() if found.startswith("orchard/")]
    known = {
        prompt.text
        for prompts in sets
        if name in prompts.concept.label.split("-")
        for group in prompts.groups().values()
        for prompt in group
    }
    everything = [prompt for prompts in cases.values() for prompt in prompts]
    assert all(len(prompts) >= 24 for prompts in cases.values())
    assert len(texts(everything)) == len(everything)
    assert not texts(everything) & known
    tokenizer = build_tokenizer()
    for prompt in everything:
        ids = tokenizer(prompt.text).input_ids
        assert len(ids) <= MAX_TOKENS
        assert "".join(tokenizer.decode(ids[1:-1]).split()) == "".join(prompt.text.lower().split())
    for case, prompts in cases.items():
        for prompt in prompts:
            assert (name in prompt.labels) == (case not in SPARED)
            assert bool({name, PLURALS[name]} & words_of([prompt])) == prompt.named or case == "look-alike"
