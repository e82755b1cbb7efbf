"""Every script under examples/ runs as its first line says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, place: Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        cwd=place,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(place / "modules")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.full
def test_examples_in_a_row(tmp_path):
    """generate_without_banana.py and custom_pipeline.py read what fit_concept.py saved."""
    said = {}
    for name in ("fit_concept", "generate_without_banana", "custom_pipeline", "clip_scores", "token_heat"):
        said[name] = run(name, tmp_path)
    assert "accuracy" in said["fit_concept"]
    assert (tmp_path / "outputs" / "without_banana.png").is_file()
    assert "'a pear on a pink table': steered over 0% of the picture" in said["generate_without_banana"]
    assert "SteeredStableDiffusionPipeline with {'banana': 3.0}" in said["custom_pipeline"]
    assert (tmp_path / "outputs" / "strengths.png").is_file()
    assert said["clip_scores"].count("CLIP score") == 3
    assert "change %" in said["token_heat"]
    assert "you" in (tmp_path / "outputs" / "token_heat.html").read_text()


def test_a_language_model(tmp_path):
    """It takes seconds."""
    done = run("language_model", tmp_path)
    steered = re.search(r"heldout_source: rude 100% unsteered, (\d+)% steered", done)
    assert steered
    assert int(steered[1]) <= 33
    same = re.search(r"heldout_control: rude 0% unsteered, 0% steered; (\d+)% of 64 answers the same", done)
    assert same
    assert int(same[1]) >= 95
    assert not list(tmp_path.iterdir())


def test_no_example_is_left_out():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == [
        "clip_scores", "custom_pipeline", "fit_concept", "generate_without_banana", "language_model", "token_heat",
    ]  # fmt: skip
