"""Every script under examples/ runs as its first line says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.full
def test_examples_in_a_row(tmp_path):
    """generate_without_banana.py and custom_pipeline.py read what fit_concept.py saved."""
    said = {}
    for name in ("fit_concept", "generate_without_banana", "custom_pipeline", "clip_scores", "token_heat"):
        done = subprocess.run(
            [sys.executable, EXAMPLES / f"{name}.py"],
            cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(tmp_path / "modules")},
            capture_output=True,
            text=True,
            check=True,
        )
        said[name] = done.stdout
    assert "accuracy" in said["fit_concept"]
    assert (tmp_path / "outputs" / "without_banana.png").is_file()
    assert "'a pear on a pink table': steered over 0% of the picture" in said["generate_without_banana"]
    assert "SteeredStableDiffusionPipeline with {'banana': 3.0}" in said["custom_pipeline"]
    assert (tmp_path / "outputs" / "strengths.png").is_file()
    assert said["clip_scores"].count("CLIP score") == 3
    assert "change %" in said["token_heat"]
    assert "you" in (tmp_path / "outputs" / "token_heat.html").read_text()


def test_no_example_is_left_out():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == [
        "clip_scores", "custom_pipeline", "fit_concept", "generate_without_banana", "token_heat",
    ]  # fmt: skip
