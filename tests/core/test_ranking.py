"""The area under the ROC curve, against scikit-learn."""

import torch
from sklearn.metrics import roc_auc_score

from dsas_diffusion.core.ranking import auroc


def test_auroc_is_sklearns_with_and_without_ties():
    generator = torch.Generator().manual_seed(0)
    shown, other = torch.randn(40, 3, generator=generator) + 0.5, torch.randn(70, 3, generator=generator)
    shown[:, 1], other[:, 1] = shown[:, 1].round(), other[:, 1].round()
    shown[:, 2] = other[:, 2] = 1.0
    y = [1] * 40 + [0] * 70
    expected = [roc_auc_score(y, column.numpy()) for column in torch.cat([shown, other]).T]
    assert torch.allclose(auroc(shown, other), torch.tensor(expected, dtype=torch.float64))
    assert expected[2] == 0.5
