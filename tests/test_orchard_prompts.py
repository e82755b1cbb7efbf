"""The committed Orchard prompt sets: what the script writes, and what each must hold."""

import subprocess
import sys
from pathlib import Path

import pytest

from dsas_diffusion.orchard.grammar import PLURALS
from dsas_diffusion.orchard.world import OBJECTS
from dsas_diffusion.prompts import load_prompts

ROOT = Path(__file__).resolve().parents[1]
SETS = (*OBJECTS, "blurry", "sketch", "red", "blur")


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
