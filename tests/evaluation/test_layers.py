"""Layers told apart: gates against scikit-learn's PCA and regression, overlap against SciPy, and what can't work."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from tiny_texts import model, rudeness, tokenizer

from dsas_diffusion.core.ranking import overlap
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.layers import Sides, measured, part_of, sides, told
from dsas_diffusion.gates.base import GATES, Samples
from dsas_diffusion.hooks.sites import find_sites
from dsas_diffusion.prompts import load_prompts


def clouds(n: int, shift: float, seed: int, channels: int = 12) -> Sides:
    generator = torch.Generator().manual_seed(seed)
    both = [torch.randn(n, channels, generator=generator) for _ in range(2)]
    both[0][:, 3] += shift
    return Sides(*(Samples(X, torch.arange(n), X) for X in both))


def test_overlap_is_what_kolmogorov_and_smirnov_leave():
    generator = torch.Generator().manual_seed(0)
    shown, other = torch.randn(40, 3, generator=generator) + 0.7, torch.randn(70, 3, generator=generator)
    shown[:, 1], other[:, 1] = shown[:, 1].round(), other[:, 1].round()
    shown[:, 2] += 20
    expected = [1 - ks_2samp(one, two).statistic for one, two in zip(shown.T.numpy(), other.T.numpy(), strict=True)]
    assert overlap(shown, other).tolist() == pytest.approx(expected)
    assert overlap(shown, other)[2] == 0
    assert overlap(other, other).tolist() == [1, 1, 1]


def test_figures_of_scores():
    figures = told(torch.tensor([2.0, 1.0, -1.0]), torch.tensor([-2.0, 0.0, 3.0]))
    assert figures == pytest.approx((4 / 6, 5 / 9, 2 / 3))


@pytest.mark.parametrize("components", [1, 5, 12])
def test_other_prompts_are_scored_as_scikit_learn_would(components):
    fit, unseen = clouds(24, 1.5, 0), clouds(30, 1.5, 1)
    found = measured(GATES["logistic"](components), fit, {"unseen": unseen})
    steps = [LogisticRegression()] if components == 12 else [PCA(components), LogisticRegression()]
    classifier = make_pipeline(*steps).fit(torch.cat([side.pooled for side in fit]), [1] * 24 + [0] * 24)
    X, y = torch.cat([side.pooled for side in unseen]).numpy(), np.repeat([1, 0], 30)
    assert found["unseen"].accuracy == classifier.score(X, y)
    assert found["unseen"].auroc == pytest.approx(roc_auc_score(y, classifier.decision_function(X)), abs=1e-6)
    assert 0.5 < found["folds"].auroc <= 1


def test_folds_see_what_a_curved_gate_has_learned_elsewhere():
    fit = clouds(20, 0.0, 0)
    fit.source.pooled[:, 5] += 4 * torch.arange(20).remainder(2).mul(2).sub(1)  # on both sides of control: no line
    straight, curved = (measured(GATES[name](5), fit, {})["folds"] for name in ("logistic", "mlp"))
    assert straight.accuracy < 0.75
    assert curved.accuracy > 0.85


def test_a_language_model_is_recorded_by_parts_of_a_set():
    lm = model("llama")
    found = sides(lm, rudeness(), find_sites(lm, "blocks"), tokenizer=tokenizer())
    assert list(found) == ["model.layers.0", "model.layers.1"]
    assert [len(side.pooled) for side in found["model.layers.1"]] == [15, 15]
    assert not any(module._forward_hooks for module in lm.modules())
    with pytest.raises(InputError, match="no tokenizer"):
        sides(lm, rudeness(), find_sites(lm, "blocks"))


def test_a_part_that_is_not_there_is_named():
    held_out = part_of(load_prompts("orchard/rudeness"), "heldout")
    assert held_out.source == load_prompts("orchard/rudeness").heldout["source"]
    assert held_out.target == ()
    with pytest.raises(InputError, match=r"no heldout_source prompts.*Add heldout_source\.jsonl"):
        part_of(rudeness(), "heldout")
