"""The committed Orchard prompt sets: what the script writes, and what each must hold."""

import subprocess
import sys
from pathlib import Path

import pytest

from dsas_diffusion.orchard.grammar import PLURALS
from dsas_diffusion.orchard.text.lexicon import RUDE_ADJECTIVES
from dsas_diffusion.orchard.text.rudeness import rudeness, rudeness_by_style
from dsas_diffusion.orchard.world import OBJECTS
from dsas_diffusion.prompts import load_prompts

ROOT = Path(__file__).resolve().parents[1]
RUDE = {"rudeness": ("names", "scorn"), "rudeness-names": ("names",), "rudeness-scorn": ("scorn",)}
TASKS = ("banana-apple", "banana-pear", "fruit-pear", "banana-random-control")
UNSEEN = ("banana-heldout-words", "cup-heldout-words")
SETS = (*OBJECTS, "blurry", "sketch", "red", "blur", *RUDE, *TASKS, *UNSEEN)


def test_files_are_the_scripts_output():
    run = subprocess.run(
        [sys.executable, ROOT / "tools" / "orchard_prompts.py", "--check"], capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_its_sizes(name):
    prompts = load_prompts(f"orchard/{name}")
    assert (len(prompts.source), len(prompts.target), len(prompts.control)) == (32, 32, 32)
    assert {kind: len(found) for kind, found in prompts.heldout.items()} == {"source": 64, "control": 64, "mixed": 64}
    assert {kind: len(found) for kind, found in prompts.tuning.items()} == {"source": 32, "control": 32, "mixed": 32}
    assert prompts.twins


@pytest.mark.parametrize("name", OBJECTS)
def test_object_sets_show_the_object_in_source_alone_and_name_it_every_second_time(name):
    prompts = load_prompts(f"orchard/{name}")
    spoken = {name, PLURALS[name]}
    for group in (prompts.source, prompts.heldout["source"], prompts.heldout["mixed"]):
        assert sum(p.named for p in group) == len(group) / 2
        for prompt in group:
            assert name in prompt.labels
            assert bool(spoken & set(prompt.text.replace(",", "").split())) == prompt.named
    for prompt in (*prompts.control, *prompts.target, *prompts.heldout["control"]):
        assert name not in prompt.labels
        assert not spoken & set(prompt.text.replace(",", "").split())
    assert [len(p.labels) for p in prompts.source] == [1] * 16 + [2] * 16
    for source, target in zip(prompts.source, prompts.target, strict=True):
        assert set(target.labels) == set(source.labels) - {name}


@pytest.mark.parametrize("name", RUDE)
def test_rude_sets_are_rude_in_their_styles_and_their_targets_are_kind(name):
    prompts = load_prompts(f"orchard/{name}")
    styles = RUDE[name]
    checked = [part[kind] for part in (prompts.tuning, prompts.heldout) for kind in ("source", "mixed")]
    for group in (prompts.source, *checked):
        judged = rudeness_by_style([prompt.text for prompt in group])
        for row, prompt in enumerate(group):
            style = styles[row % len(styles)]
            assert prompt.labels[:2] == ("rude", style)
            assert prompt.named == (style == "names")
            assert {kind: found[row] for kind, found in judged.items()} == {kind: kind == style for kind in judged}
    for group in (prompts.target, prompts.control, prompts.tuning["control"], prompts.heldout["control"]):
        assert rudeness([prompt.text for prompt in group]).max() == 0
    for source, target in zip(prompts.source, prompts.target, strict=True):
        assert source.text.split(" says : ")[0] == target.text.split(" says : ")[0]
        assert source.text.split()[-3:] == target.text.split()[-3:]


@pytest.mark.parametrize("name", RUDE)
def test_rude_sets_have_controls_of_every_kind_and_harsh_words_among_them(name):
    for group in (load_prompts(f"orchard/{name}").control, load_prompts(f"orchard/{name}").heldout["control"]):
        kinds = [prompt.labels[0] for prompt in group]
        assert {kind: kinds.count(kind) >= len(group) // 3 for kind in ("kind", "description", "question")} == {
            "kind": True, "description": True, "question": True
        }  # fmt: skip
        harsh = [prompt.text.split() for prompt in group if "harsh" in prompt.labels]
        assert len(harsh) >= len(group) // 4
        assert all(set(words) & set(RUDE_ADJECTIVES) for words in harsh)


def test_the_styles_and_the_parts_share_no_prompt():
    sets = [load_prompts(f"orchard/{name}") for name in RUDE]
    assert len({prompts.digest for prompts in sets}) == len(sets)
    names, scorn = ({p.text for p in (*s.source, *s.heldout["source"])} for s in sets[1:])
    assert not names & scorn
