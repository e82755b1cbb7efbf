"""Runs the cases of tests/compiled, where functions are not wrapped by shape checks, which can't be compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(*chosen: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *chosen,
         str(HERE / "compiled" / "cases.py")],
        env={**os.environ, "DSAS_UNCHECKED": "1"}, capture_output=True, text=True, check=False, cwd=HERE.parent,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]


@pytest.mark.parametrize(
    "case",
    [
        "sd- and whole and attached",
        "flux- and by and blocks and attached and not heads",
        # torch 2.6 can't trace what watches heads inside an attention processor.
        pytest.param("heads and flux- and by and blocks and attached", marks=pytest.mark.later),
    ],
)
def test_a_compiled_pipeline(case):
    run("-k", case)


@pytest.mark.full
@pytest.mark.parametrize("family", ["sd", "flux", "sdxl"])
def test_all_that_is_compiled(family):
    run("-k", f"{family}-")
