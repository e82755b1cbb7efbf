"""How much prompts are touched: by hand, and on a language model with a gate whose answers are known."""

import math

import pytest
import torch
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer

import dsas_diffusion as dsas
from dsas_diffusion.evaluation.steered_twins import Twins, changes, steered_twins
from dsas_diffusion.evaluation.touched import MeanMove, TouchedPositions, TouchedPrompts, touch_figures

STILL = Twins(torch.eye(3), torch.eye(3))
MOVED = Twins(torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 9.0], [1.0, 0.0]]))


def test_by_hand():
    found = touch_figures([{"site": STILL}, {"site": MOVED}])
    assert found == {"site": {"touched_prompts": 0.5, "touched_positions": 1 / 5, "mean_move": 1 / 5}}
    assert touch_figures([]) == {}


@pytest.mark.parametrize("kind", [TouchedPrompts, TouchedPositions, MeanMove])
def test_batches_and_processes_add_up(kind):
    whole, one, other = kind(), kind(), kind()
    for twins, part in ((STILL, one), (MOVED, other), (MOVED, one)):
        whole.update(changes(twins))
        part.update(changes(twins))
    assert one.merge(other).compute() == whole.compute() > 0
    assert math.isnan(kind().compute())


def test_on_a_model():
    lm, words, path = model("llama"), tokenizer(), "model.layers.0"
    steerer = dsas.fit(lm, rudeness(), tokenizer=words, progress=False, gate="always", sites=path)
    texts = [SOURCE[0], CONTROL[0]]
    shift = steerer.sites[path].method.shift
    figures = touch_figures(steered_twins(lm, steerer, texts, tokenizer=words, strength=2.0))[path]
    assert figures["touched_prompts"] == figures["touched_positions"] == 1
    originals = torch.cat([each[path].original for each in steered_twins(lm, steerer, texts, tokenizer=words)])
    assert figures["mean_move"] == pytest.approx(float((2 * shift.norm() / originals.norm(dim=1)).mean()), rel=1e-4)
    off = touch_figures(steered_twins(lm, steerer, texts, tokenizer=words, strength=0.0))[path]
    assert off == {"touched_prompts": 0, "touched_positions": 0, "mean_move": 0}
