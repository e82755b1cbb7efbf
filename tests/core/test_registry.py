"""Registries find classes by themselves and explain unknown names."""

import pytest

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
    finally:
        METHODS._classes().pop("other")
