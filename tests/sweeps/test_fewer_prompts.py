"""Steering that is learned from fewer prompts of a set: which ones they are."""

import pytest

from dsas_diffusion.prompts import load_prompts
from dsas_diffusion.sweeps.steering import Steering


@pytest.mark.parametrize("count", [4, 8, 16])
def test_fewer_prompts_are_half_named_and_half_mixed_as_all_are(count):
    concept = load_prompts("orchard/banana")
    fewer = Steering(prompts=count).learned_from(concept, seed=0)
    assert [len(group) for group in (fewer.source, fewer.target, fewer.control)] == [count] * 3
    assert sum(prompt.named for prompt in fewer.source) == count / 2
    assert [len(prompt.labels) for prompt in fewer.source] == [1] * (count // 2) + [2] * (count // 2)
    assert set(zip(fewer.source, fewer.target, strict=True)) <= set(zip(concept.source, concept.target, strict=True))


@pytest.mark.parametrize("count", [2, 3, 5, 7, 31, 32, 64])
def test_any_number_of_prompts_is_taken_and_none_twice(count):
    source = load_prompts("orchard/banana").source
    fewer = Steering(prompts=count).learned_from(load_prompts("orchard/banana"), seed=0).source
    assert len(set(fewer)) == len(fewer) == min(count, len(source))
    assert list(fewer) == [prompt for prompt in source if prompt in fewer]
