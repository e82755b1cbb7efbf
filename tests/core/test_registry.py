"""Registries find classes by themselves and explain unknown names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsas_diffusion.core.registry import Registry
from dsas_diffusion.errors import InputError
from dsas_diffusion.gates.base import GATES
from dsas_diffusion.methods.base import METHODS, SteeringMethod


def test_every_class_of_the_packages_is_found_under_its_name():
    assert {"caa"} <= set(METHODS)
    assert {"always", "logistic", "calibrated"} <= set(GATES)
    for registry in (METHODS, GATES):
        assert all(cls.name == name for name, cls in registry.items())


def test_unknown_name_suggests_the_closest():
    with pytest.raises(InputError, match=r"no gate 'logistik'. Did you mean 'logistic'"):
        GATES["logistik"]
    assert GATES.get("nothing") is None


def test_a_class_from_elsewhere_can_be_registered():
    class Other(METHODS["caa"]):
        name = "other"

    try:
        assert METHODS.register(Other) is Other
        assert issubclass(METHODS["other"], SteeringMethod)
        assert METHODS.register(Other) is Other  # the same again, as in a notebook

        class Twin(METHODS["caa"]):
            name = "other"

        class Nameless(METHODS["caa"]):
            pass

        with pytest.raises(InputError, match=r"is called 'other', but .*Other is so already"):
            METHODS.register(Twin)
        with pytest.raises(InputError, match="no name of its own"):
            METHODS.register(Nameless)
        assert METHODS["other"] is Other
    finally:
        METHODS._classes().pop("other")


OTHER = """
from typing import ClassVar

from dsas_diffusion.methods.caa import CAA


class Twist(CAA):
    \"\"\"T(t) = t + v, from elsewhere.\"\"\"

    name: ClassVar[str] = "twist"
"""
ROOT = Path(__file__).resolve().parents[2]


def installed(folder: Path, value: str, group: str = "dsas_diffusion.methods") -> dict[str, str]:
    """A distribution with one entry point, on the path of a process with this environment."""
    about = folder / "twist-1.0.dist-info"
    about.mkdir()
    (folder / "twist.py").write_text(OTHER, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: twist\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[{group}]\ntwist = {value}\n", encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder)}


def answer(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run([sys.executable, *words], env=environment, cwd=ROOT, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_a_method_of_another_distribution_is_one_file_and_an_entry_point(tmp_path):
    environment = installed(tmp_path, "twist:Twist")
    names = answer(environment, "-c", "from dsas_diffusion.methods.base import METHODS; print(*METHODS)")
    assert "twist" in names.split()
    collected = answer(environment, "-m", "pytest", "--collect-only", "-q", "tests/methods")
    assert "test_unfitted_method_is_the_identity[twist]" in collected
    wrong = answer(environment, "-m", "dsas_diffusion.cli", "demo", "--method", "twists")
    assert "Did you mean 'twist'?" in wrong


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("twist:Missing", "can't be loaded from its entry point 'twist:Missing'"),
        ("nowhere:Twist", "can't be loaded from its entry point 'nowhere:Twist'"),
        ("twist:ClassVar", "is no finished SteeringMethod"),
        (
            "dsas_diffusion.methods.caa:CAA",
            "methods.caa:CAA' is called 'caa', but dsas_diffusion.methods.caa.CAA is so already",
        ),
    ],
)
def test_an_entry_point_that_brings_no_method_is_explained(tmp_path, monkeypatch, value, message):
    installed(tmp_path, value)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as caught:
        list(Registry("dsas_diffusion.methods", "steering method"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("number", "body", "message"),
    [
        (0, "class Twin(CAA):\n    name = 'caa'", "is called 'caa', but wrong_0.caa.Mine is so already"),
        (1, "class Nameless(CAA):\n    pass", "wrong_1.one.Nameless has no name of its own"),
        (
            2,
            "class Half(ShiftMap):\n    name = 'half'",
            "wrong_2.one.Half is not finished: it has a name, but lacks learned",
        ),
    ],
)
def test_a_file_that_brings_no_method_of_its_own_is_explained(tmp_path, monkeypatch, number, body, message):
    package = tmp_path / f"wrong_{number}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text("from dsas_diffusion.methods.base import REGISTERED\n", encoding="utf-8")
    both = "from dsas_diffusion.methods.caa import CAA\nfrom dsas_diffusion.methods.shift import ShiftMap\n\n\n"
    (package / "caa.py").write_text(f"{both}class Mine(CAA):\n    name = 'caa'\n", encoding="utf-8")
    (package / "one.py").write_text(f"{both}{body}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as caught:
        list(Registry(package.name, "steering method"))
    assert message in str(caught.value)
