"""A small sweep that was run to its end, for all tests of sweeps."""

import pytest
from small_sweep import PLAN, Calls


@pytest.fixture
def calls(monkeypatch):
    return Calls(monkeypatch)


@pytest.fixture(scope="session")
def plan(tmp_path_factory):
    """The small plan as a file."""
    path = tmp_path_factory.mktemp("plans") / "small.yaml"
    path.write_text(PLAN)
    return path


@pytest.fixture(scope="session")
def whole(tmp_path_factory, plan):
    """A sweep that nobody stopped: its folder, and the pictures of each call."""
    out = tmp_path_factory.mktemp("sweep") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        status, drawn = Calls(patch).sweep(plan, out)
    assert status == 0
    return out, drawn
