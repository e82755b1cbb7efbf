"""`dsas heat` on a language model's folder, as people call it."""

import json

import pytest
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer

import dsas_diffusion as dsas
from dsas_diffusion.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A language model's folder and a steerer's."""
    folder = tmp_path_factory.mktemp("heat")
    lm = model("llama")
    lm.save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    steerer = dsas.fit(lm, rudeness(), tokenizer=tokenizer(), gate="always", sites="model.layers.0", progress=False)
    steerer.save_pretrained(folder / "off")
    return folder


def run(place, *more) -> int:
    given = ["heat", "--model", str(place / "model"), "--steerer", str(place / "off"), "--device", "cpu"]
    return main([*given, *more])


def test_the_terminal_shows_every_text(place, capsys):
    assert run(place, "--prompt", json.dumps([SOURCE[0], CONTROL[0]])) == 0
    said = capsys.readouterr().out
    assert said.count("gate h") == said.count("change %") == 2
    assert "\x1b" not in said  # no terminal
    assert said.splitlines()[0].split()[2:] == ["<s>", *SOURCE[0].split()]
    assert run(place, "--prompt", SOURCE[0], "--colour", "on", "--strength", "0") == 0
    said = capsys.readouterr().out
    assert "\x1b[38;5;16;48;5;201m1.00" in said  # open everywhere
    assert "\x1b[38;5;16;48;5;231m0.00" in said  # and nothing moved


def test_a_page_is_written_from_a_file_of_texts(place, tmp_path, capsys):
    (tmp_path / "texts.csv").write_text(f"prompt\n{SOURCE[0]}\n{SOURCE[1]}\n")
    assert run(place, "--prompts", str(tmp_path / "texts.csv"), "--out", str(tmp_path / "heat.html")) == 0
    assert (tmp_path / "heat.html").read_text().count("<table>") == 4
    assert "gate h" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "Give either prompt"),
        (["--prompt", "[]"], "No text was given"),
        (["--prompt", SOURCE[0], "--chat", "on"], "no chat template"),
    ],
)
def test_what_cant_be_shown_is_refused(place, more, message, capsys):
    assert run(place, *more) == 2
    assert message in capsys.readouterr().err
