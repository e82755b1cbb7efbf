"""The table of all ten objects: its command runs, and writes a row for each object that it is asked for."""

import sys

import pytest

from benchmarks import objects


@pytest.mark.full
def test_the_command_writes_a_row_for_each_object(tmp_path, monkeypatch):
    page = tmp_path / "objects.md"
    monkeypatch.setattr(sys, "argv", ["objects", "--concepts", "cup", "--heldout", "2", "--out", str(page)])
    objects.main()
    text = page.read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith("| cup |")]
    assert row.count("|") == text.splitlines()[6].count("|")
    assert "λ = 2.5" in text
    assert "2 held-out prompts of each kind" in text
