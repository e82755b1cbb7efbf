"""Calibration error against scikit-learn's reliability curve."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.calibration_error import CalibrationError, calibration_error

NOISE = np.random.default_rng(0)
SCORES = NOISE.beta(0.5, 0.7, 500)
SHOWN = NOISE.random(500) < SCORES**2


def by_scikit_learn(scores, shown, bins):
    share, mean = calibration_curve(shown, scores, n_bins=bins)
    counts, _ = np.histogram(scores, bins, (0, 1))
    return (np.abs(share - mean) * counts[counts > 0]).sum() / len(scores)


@pytest.mark.parametrize("bins", [5, 10, 64])
def test_against_scikit_learn(bins):
    found = calibration_error(torch.from_numpy(SCORES), torch.from_numpy(SHOWN), bins)
    assert found == pytest.approx(by_scikit_learn(SCORES, SHOWN, bins))


def test_known_cases():
    shown = torch.tensor([True, False, False, True])
    assert calibration_error(shown.double(), shown) == 0
    assert calibration_error((~shown).double(), shown) == 1
    assert calibration_error(torch.full((4,), 0.5), shown) == 0  # half of them do
    assert calibration_error(torch.full((4,), 0.5), torch.zeros(4, dtype=torch.bool)) == 0.5
    assert math.isnan(calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool)))


def test_batches_and_processes_add_up():
    scores, shown = torch.from_numpy(SCORES), torch.from_numpy(SHOWN)
    one, other = CalibrationError(10), CalibrationError(10)
    for part, measure in ((slice(0, 3), one), (slice(3, 200), other), (slice(200, 500), one)):
        measure.update(scores[part], shown[part])
    merged = one.merge(pickle.loads(pickle.dumps(other)))
    assert merged.compute() == pytest.approx(by_scikit_learn(SCORES, SHOWN, 10))
    with pytest.raises(InputError, match="own kind and settings"):
        one.merge(CalibrationError(5))


def test_bad_input():
    with pytest.raises(InputError, match="not the logit"):
        calibration_error(torch.tensor([1.5]), torch.tensor([True]))
    with pytest.raises(InputError, match=r"accepted are \(n,\) floats"):
        calibration_error(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))
