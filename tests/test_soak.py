"""The soak commands at a small size: they run, and what they look for does not come."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parent / "soak"


@pytest.mark.full
@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("mutated_folders.py", ("--count", "200"), "200 damaged folders"),
        ("interrupts.py", ("--count", "5"), "the same tables in the end"),
        ("memory.py", ("--minutes", "0.5"), "a picture"),
    ],
)
def test_soak(command, options, said, tmp_path):
    done = subprocess.run([sys.executable, SOAK / command, *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
