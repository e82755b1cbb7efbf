"""Prompt sets: every way in, every mistake, and the sets that come with the package."""

import json
import pickle
import re

import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.prompts import Concept, Prompt, PromptSet, bundled_prompts, load_prompts, read_prompts

EVERYDAY = ("banana", "car", "dog", "logo", "ukiyo-e")


def prompts(*texts):
    return tuple(Prompt(text) for text in texts)


def small(**changes):
    parts = {
        "name": "small",
        "source": prompts("a banana", "two bananas"),
        "target": prompts("an apple", "two apples"),
        "control": prompts("a cup", "a book"),
        "concept": Concept("banana", "a photo of a banana"),
    }
    return PromptSet(**(parts | changes))


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, lines in files.items():
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


@pytest.mark.parametrize("name", EVERYDAY)
def test_everyday_sets_have_their_shape(name):
    concept = load_prompts(name)
    label = concept.concept.label
    assert [len(group) for group in (concept.source, concept.target, concept.control)] == [32, 32, 32]
    assert {kind: len(group) for kind, group in concept.heldout.items()} == {"source": 64, "control": 64, "mixed": 64}
    assert concept.twins
    word = re.compile(rf"\b{label}s?\b", re.IGNORECASE)
    for group, listed in concept.groups().items():
        shows = "control" not in group and group != "target"
        assert all((label in prompt.labels) == shows for prompt in listed), group
        assert all(bool(word.search(prompt.text)) == (shows and prompt.named) for prompt in listed), group
        if shows:
            assert sum(prompt.named for prompt in listed) * 2 == len(listed)
    assert [len(prompt.labels) for prompt in concept.source] == [1] * 16 + [2] * 16
    assert all(len(prompt.labels) >= 2 for prompt in concept.heldout["mixed"])
    for source, target in zip(concept.source[16:], concept.target[16:], strict=True):
        assert set(target.labels) == set(source.labels) - {label}


@pytest.mark.parametrize("styles", [("rudeness-names", "rudeness-scorn"), ("banana-kitchen", "banana-chat")])
def test_sentences_come_in_two_styles_that_share_none(styles):
    sets = [load_prompts(f"sentences/{style}") for style in styles]
    texts = [prompt.text for concept in sets for listed in concept.groups().values() for prompt in listed]
    assert len(texts) == len(set(texts)) == 2 * 4 * 24
    for concept in sets:
        label = concept.concept.label
        for group, listed in concept.groups().items():
            shows = "source" in group
            assert all((label in prompt.labels) == shows for prompt in listed)
            if label == "banana":
                assert all(("banana" in prompt.text.lower()) <= shows for prompt in listed)
                assert all(prompt.named or "banana" not in prompt.text.lower() for prompt in listed)


@pytest.mark.parametrize("name", bundled_prompts())
def test_bundled_sets_load_and_read_as_english(name):
    concept = load_prompts(name)
    assert concept.name == name
    assert concept.concept.alternatives
    for listed in concept.groups().values():
        for prompt in listed:
            # "a ukiyo-e" begins with a consonant's sound, "an SUV" with a vowel's.
            assert not re.search(r"\b[Aa] [aeio]\w|\b[Aa]n [b-df-gj-np-tv-z]", prompt.text), prompt.text
            assert "  " not in prompt.text
            assert prompt.text == prompt.text.strip()


def test_folder_round_trip(tmp_path):
    original = small(
        source=(Prompt("a bänana", ("banana",), True), Prompt("a plantain", ("banana", "cup"), False)),
        heldout={"mixed": prompts("a banana and a pear")},
        tuning={"source": prompts("a third banana")},
        twins=True,
        concept=Concept("banana", "a photo of a banana", ("a photo of a cup",)),
    )
    assert original.to_folder(tmp_path / "small") == tmp_path / "small"
    again = load_prompts(tmp_path / "small")
    assert again == original
    assert again.digest == original.digest
    with pytest.raises(InputError, match="not empty"):
        original.to_folder(tmp_path / "small")
    small().to_folder(tmp_path / "small", overwrite=True)
    assert load_prompts(str(tmp_path / "small")) == small()


def test_digest_covers_content_and_not_the_name():
    assert small().digest == small(name="other").digest
    changes = [
        {"source": prompts("a banana", "three bananas")},
        {"target": ()},
        {"control": (Prompt("a cup", ("cup",)), Prompt("a book"))},
        {"concept": Concept("banana", "a banana")},
        {"heldout": {"source": prompts("my banana")}},
        {"tuning": {"source": prompts("my banana")}},
        {"twins": True},
    ]
    digests = {small(**change).digest for change in changes} | {small().digest}
    assert len(digests) == len(changes) + 1
    # Written out once, so that a change of the format, which would orphan saved steerers, is noticed.
    assert small().digest == "c1b45b2dc50222ad2bcbca3899dfaac00cb1f2ffde7edbdf84024f2186206882"


def test_texts_and_pickling():
    concept = small(heldout={"mixed": prompts("a banana and a pear")})
    assert concept.texts("source") == ["a banana", "two bananas"]
    assert concept.texts("heldout_mixed") == ["a banana and a pear"]
    assert concept.texts("tuning_source") == []
    with pytest.raises(InputError, match=r"'heldout_mixd'.*Did you mean 'heldout_mixed'"):
        concept.texts("heldout_mixd")
    assert pickle.loads(pickle.dumps(concept)) == concept


def test_one_jsonl_file(tmp_path):
    lines = [
        {"set": "source", "prompt": "a banana", "labels": ["banana"], "named": True},
        {"set": "control", "prompt": "a cup"},
        {"set": "heldout_source", "prompt": "a plantain", "named": False},
    ]
    concept = load_prompts(write(tmp_path, fruit=lines) / "fruit.jsonl")
    assert (concept.name, concept.concept) == ("fruit", Concept("fruit", "fruit"))
    assert concept.source == (Prompt("a banana", ("banana",)),)
    assert concept.target == ()
    assert concept.heldout == {"source": (Prompt("a plantain", (), False),)}


def test_one_csv_file(tmp_path):
    text = (
        'set,prompt,labels,named\nsource,"a banana, peeled",banana; cup,no\ncontrol,a cup,,\ntarget,a pear,pear,TRUE\n'
    )
    (tmp_path / "fruit.csv").write_text(text)
    concept = load_prompts(tmp_path / "fruit.csv")
    assert concept.source == (Prompt("a banana, peeled", ("banana", "cup"), False),)
    assert concept.target == (Prompt("a pear", ("pear",), True),)


def test_plain_list_keeps_repeats(tmp_path):
    write(tmp_path, list=[{"prompt": "a cup"}, {"prompt": "a cup", "labels": ["cup"]}])
    assert read_prompts(tmp_path / "list.jsonl") == (Prompt("a cup"), Prompt("a cup", ("cup",)))


def test_a_prompt_may_be_target_and_control():
    assert small(control=prompts("an apple", "two apples")).control == small().target


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a', "not valid JSON"),
        ({"labels": ["banana"]}, "'prompt' is missing"),
        ({"prompt": 3}, "'prompt' is 3, not a string"),
        ({"prompt": "a kiwi", "labels": "kiwi"}, "'labels' is 'kiwi', not a list"),
        ({"prompt": "a kiwi", "labels": [1]}, "'labels' is"),
        ({"prompt": "a kiwi", "named": "yes"}, "'named' is 'yes'"),
        ({"prompt": "a kiwi", "label": ["kiwi"]}, "'label' is unknown"),
        ({"prompt": " \t"}, "the prompt is empty"),
        ({"prompt": "A  Banana"}, r"'A  Banana' already stands at .*source\.jsonl, line 1"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    folder = write(tmp_path / "set", source=[{"prompt": "a banana"}, line], control=[{"prompt": "a cup"}])
    with pytest.raises(InputError, match=rf"source\.jsonl, line 2: .*{message}"):
        load_prompts(folder)


@pytest.mark.parametrize("kind", ["heldout_source", "tuning_control"])
@pytest.mark.parametrize("group", ["source", "target", "control"])
def test_overlap_with_fit_prompts_is_named(tmp_path, group, kind):
    groups = {"source": [{"prompt": "a banana"}], "target": [{"prompt": "a pear"}], "control": [{"prompt": "a cup"}]}
    shared = groups[group][0]["prompt"].upper()
    folder = write(tmp_path / "set", **groups, **{kind: [{"prompt": "a lime"}, {"prompt": shared}]})
    with pytest.raises(InputError, match=rf"{kind}\.jsonl, line 2: .*also stands at .*{group}\.jsonl, line 1"):
        load_prompts(folder)


def test_overlap_of_tuning_and_heldout_is_named():
    with pytest.raises(InputError, match=r"heldout_mixed\[0\].*also stands at tuning_source\[0\]"):
        small(tuning={"source": prompts("my banana")}, heldout={"mixed": prompts("My banana ")})


@pytest.mark.parametrize("missing", ["source", "control"])
def test_one_sided_sets_are_refused(tmp_path, missing):
    folder = write(tmp_path / "set", source=[{"prompt": "a banana"}], control=[{"prompt": "a cup"}])
    (folder / f"{missing}.jsonl").unlink()
    with pytest.raises(InputError, match=f"one-sided: it has no {missing} prompts"):
        load_prompts(folder)
    with pytest.raises(InputError, match=f"no {missing} prompts"):
        small(**{missing: ()}, target=())


def test_twins_have_one_target_each():
    assert small(target=prompts("an apple")).twins is False
    with pytest.raises(InputError, match="2 source and 1 target"):
        small(target=prompts("an apple"), twins=True)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(InputError, match=r"'bananna'.*Did you mean 'banana'\?.*Bundled are .*car.*ukiyo-e"):
        load_prompts("bananna")


def test_strange_files_in_a_folder_are_refused(tmp_path):
    folder = write(tmp_path / "set", source=[{"prompt": "a banana"}], control=[{"prompt": "a cup"}])
    (folder / "README.md").write_text("fine")
    load_prompts(folder)
    (folder / "source.csv").write_text("prompt\na banana\n")
    with pytest.raises(InputError, match="holds source both"):
        load_prompts(folder)
    (folder / "source.csv").rename(folder / "heldout_sorce.csv")
    with pytest.raises(InputError, match="Did you mean 'heldout_source'"):
        load_prompts(folder)


@pytest.mark.parametrize(
    "about",
    ["[]", '{"label": "banana"}', '{"label": "", "text": "x"}', '{"label": "b", "text": "x", "twins": 1}',
     '{"label": "b", "text": "x", "alternatives": "y"}', '{"label": "b", "text": "x", "colour": "y"}', '{"label": '],
)  # fmt: skip
def test_broken_concept_file_is_named(tmp_path, about):
    folder = write(tmp_path / "set", source=[{"prompt": "a banana"}], control=[{"prompt": "a cup"}])
    (folder / "concept.json").write_text(about)
    with pytest.raises(InputError, match=r"concept\.json"):
        load_prompts(folder)


def test_unknown_heldout_kind_is_refused():
    with pytest.raises(InputError, match=r"heldout .* has the key 'target'"):
        small(heldout={"target": prompts("x")})


def test_single_file_says_its_groups(tmp_path):
    write(tmp_path, a=[{"prompt": "a banana"}], b=[{"prompt": "a banana", "set": "sauce"}])
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: the field 'set' is missing"):
        load_prompts(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match=r"b\.jsonl, line 1: the field 'set' is 'sauce'"):
        load_prompts(tmp_path / "b.jsonl")
