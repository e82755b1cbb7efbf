"""Grown and shrunk regions against SciPy's morphology."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.regions import check_masks, dilate, erode, masked_mean

SQUARE = np.ones((3, 3))


@pytest.mark.parametrize("pixels", [1, 2])
def test_against_scipy(pixels):
    masks = np.zeros((3, 16, 20), dtype=bool)
    masks[0, 4:11, 5:15] = True
    masks[1, :8, :9] = True  # touches the picture's edge
    masks[2] = np.random.default_rng(0).random((16, 20)) > 0.05
    grown = [binary_dilation(mask, SQUARE, iterations=pixels) for mask in masks]
    shrunk = [binary_erosion(mask, SQUARE, iterations=pixels, border_value=1) for mask in masks]
    assert np.array_equal(dilate(torch.from_numpy(masks), pixels).numpy(), grown)
    assert np.array_equal(erode(torch.from_numpy(masks), pixels).numpy(), shrunk)


def test_no_pixels_and_no_region():
    masks = torch.zeros(2, 6, 6, dtype=torch.bool)
    masks[1, 2, 3] = True
    assert torch.equal(dilate(masks, 0), masks)
    assert torch.equal(erode(masks, 0), masks)
    assert dilate(masks, 2).flatten(1).sum(dim=1).tolist() == [0, 25]
    assert not erode(masks, 1).any()


def test_masked_mean():
    values = torch.tensor([[[1.0, 2.0], [4.0, float("nan")]]] * 2, dtype=torch.float64)
    masks = torch.tensor([[[True, False], [True, False]], [[False, False], [False, False]]])
    assert masked_mean(values, masks).tolist() == pytest.approx([2.5, float("nan")], nan_ok=True)


def test_masks_that_do_not_fit():
    masks = torch.ones(2, 4, 5, dtype=torch.bool)
    check_masks("masks", masks, torch.zeros(2, 3, 4, 5))
    check_masks("masks", masks, torch.zeros(2, 4, 5))
    for other in (masks.float(), masks[:1], masks[:, :, :4], masks.unsqueeze(1)):
        with pytest.raises(InputError, match=r"regions is a tensor .* accepted is bool of shape \(2, 4, 5\)"):
            check_masks("regions", other, torch.zeros(2, 3, 4, 5))
