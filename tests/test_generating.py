"""Transformers' custom_generate with a steerer: the committed folder, a repository that carries it, refusals."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_texts import SOURCE, model, rudeness, tokenizer
from transformers import AutoModelForCausalLM

import dsas_diffusion as dsas
from dsas_diffusion.backends.language import tokenized

FOLDER = Path(__file__).parents[1] / "pipelines" / "steered_generate"
GREEDY = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "pad_token_id": 0}


@pytest.fixture(scope="module")
def llama():
    return model("llama")


@pytest.fixture(scope="module")
def steerer(llama):
    return dsas.fit(llama, rudeness(), tokenizer=tokenizer(), gate="always", strength=4.0, progress=False)


@pytest.fixture(autouse=True)
def modules(monkeypatch, tmp_path):
    """Where Transformers copies a repository's code to."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("transformers_modules"):
            del sys.modules[name]


@pytest.mark.parametrize("strength", [None, 2.0, [0.0, 4.0, 1.0]])
@pytest.mark.parametrize("tokens", ["both", "continuation"])
def test_the_folder_generates_as_attached_steering_does(llama, steerer, strength, tokens):
    batch = tokenized(llama, tokenizer(), SOURCE[:3])
    plain = llama.generate(**batch, **GREEDY)
    with steerer.attached(llama, strength, tokens=tokens):
        expected = llama.generate(**batch, **GREEDY)
    asked = {"steerer": steerer, "steering_strength": strength, "steering_tokens": tokens}
    made = llama.generate(**batch, **GREEDY, custom_generate=str(FOLDER), trust_remote_code=True, **asked)
    assert torch.equal(made, expected)
    assert not torch.equal(made, plain)
    assert torch.equal(llama.generate(**batch, **GREEDY), plain)


def test_a_steerers_folder_and_beams(llama, steerer, tmp_path):
    steerer.save_pretrained(tmp_path / "off")
    batch = tokenized(llama, tokenizer(), SOURCE[:2])
    with steerer.attached(llama):
        expected = llama.generate(**batch, **GREEDY, num_beams=3)
    asked = {"custom_generate": str(FOLDER), "trust_remote_code": True, "num_beams": 3}
    assert torch.equal(llama.generate(**batch, **GREEDY, **asked, steerer=str(tmp_path / "off")), expected)


def test_a_repository_that_carries_it_steers_by_itself(llama, steerer, tmp_path):
    llama.save_pretrained(tmp_path / "model")
    shutil.copytree(FOLDER / "custom_generate", tmp_path / "model" / "custom_generate")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    batch = tokenized(llama, tokenizer(), SOURCE[:3])
    with steerer.attached(llama):
        expected = llama.generate(**batch, **GREEDY)
    own = loaded.generate
    for _ in range(2):
        assert torch.equal(loaded.generate(**batch, **GREEDY, steerer=steerer), expected)
        assert loaded.generate is own
    with pytest.raises(dsas.InputError, match="no steerer was given"):
        loaded.generate(**batch, **GREEDY)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "no steerer was given"),
        ({"steerer": "/nowhere/at/all"}, "no steerer could be fetched"),
        ({"steering_strength": float("nan")}, "strength must be a finite number"),
        ({"steering_strength": [1.0, 2.0]}, "strength has 2 numbers"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(llama, steerer, asked, message):
    batch = tokenized(llama, tokenizer(), SOURCE[:3])
    if "steering_strength" in asked:
        asked = {"steerer": steerer, **asked}
    plain = llama.generate(**batch, **GREEDY)
    with pytest.raises(dsas.InputError, match=message):
        llama.generate(**batch, **GREEDY, custom_generate=str(FOLDER), trust_remote_code=True, **asked)
    assert torch.equal(llama.generate(**batch, **GREEDY), plain)
    assert "generate" not in vars(llama)


def test_the_folder_names_what_it_needs():
    needs = (FOLDER / "custom_generate" / "requirements.txt").read_text().split()
    assert needs == ["dsas-diffusion"]
    assert "- custom_generate\n" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_cards_snippet_runs(llama, steerer, tmp_path):
    """As its reader would run it, with the places of the model and the steerer put in."""
    llama.save_pretrained(tmp_path / "the-model-of-the-fit")
    tokenizer().save_pretrained(tmp_path / "the-model-of-the-fit")
    steerer.save_pretrained(tmp_path / "rude-off")
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0].replace("pipelines/steered_generate", str(FOLDER))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
