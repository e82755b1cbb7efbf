"""The lowest versions that are tested are those that the package asks for."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_what_is_tested_is_what_is_asked_for():
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", each) for each in asked["dependencies"]]
    floors = {match[1]: match[2] for match in found if match}
    assert len(floors) == len(asked["dependencies"])
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))

    def numbers(version: str) -> list[int]:
        return [int(part) for part in [*version.split("."), "0", "0"][:3]]

    assert {name: numbers(tested[name]) for name in floors} == {name: numbers(floors[name]) for name in floors}
