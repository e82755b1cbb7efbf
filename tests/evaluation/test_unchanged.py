"""How many texts are their twins', by hand."""

import math

import pytest

from dsas_diffusion.evaluation.unchanged import Unchanged, unchanged


def test_by_hand():
    assert unchanged(["a", "b", "c "], ["a", "x", "c"]).tolist() == [True, False, False]
    one, other = Unchanged(), Unchanged()
    assert math.isnan(one.compute())
    one.update(["a", "b"], ["a", "x"])
    other.update(["c"], ["c"])
    assert one.merge(other).compute() == 2 / 3
    with pytest.raises(ValueError, match="shorter"):
        unchanged(["a"], [])
