"""Digests of weights of every kind; what a claim refuses stands in the tests of what is claimed."""

import torch
from torch import nn

from dsas_diffusion.claims import digest, weights_digest


def test_a_digest_tells_names_values_and_types_apart():
    one = torch.arange(6.0).reshape(2, 3)
    seen = {
        digest([("a", one)]),
        digest([("b", one)]),
        digest([("a", one + 1e-6)]),
        digest([("a", one.bfloat16())]),
        digest([("a", one), ("b", one)]),
        digest([("a", torch.tensor(1.0))]),
        digest([("a", torch.tensor(1))]),
        digest([]),
    }
    assert len(seen) == 8
    assert digest([("a", one.T.contiguous().T)]) == digest([("a", one)])
    assert digest([("a", torch.nn.Parameter(one))]) == digest([("a", one)])


def test_a_model_that_was_written_to_has_another_digest():
    model = nn.Linear(2, 3)
    first = weights_digest(model)
    assert weights_digest(model) == first == digest(sorted(model.state_dict().items()))
    with torch.no_grad():
        model.bias += 1
    second = weights_digest(model)
    assert second == digest(sorted(model.state_dict().items())) != first
    model.weight.data += 1  # as a merged LoRA is written; no version counts it
    third = weights_digest(model)
    assert third == digest(sorted(model.state_dict().items())) not in (first, second)
    model.weight = nn.Parameter(model.weight + 1)
    assert weights_digest(model) not in (first, second, third)
