"""Sharpness against SciPy's Laplacian, and blurs whose ratio is known."""

import math
import statistics

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, laplace

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.sharpness import SharpnessInside, SharpnessOutside, sharpness, sharpness_ratio


def pictures(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((count, 3, 24, 20)))


def region(count):
    masks = torch.zeros(count, 24, 20, dtype=torch.bool)
    masks[:, 6:18, 5:15] = True
    return masks


def faded(images, masks, factor):
    """The contrast around a middle grey times the factor in the mask: sharpness there times its square."""
    return torch.where(masks.unsqueeze(1), 0.5 + factor * (images - 0.5), images)


def test_against_scipy():
    images, masks = pictures(3), region(3)
    masks[1] = True  # the picture's edge too
    grey = np.tensordot(images.numpy(), [0.299, 0.587, 0.114], axes=(1, 0))
    laplacians = [laplace(values, mode="nearest") for values in grey]
    expected = [values[mask].var() for values, mask in zip(laplacians, masks.numpy(), strict=True)]
    assert sharpness(images, masks).tolist() == pytest.approx(expected)


def test_flat_pictures_and_empty_masks():
    flat = torch.tensor([0.1, 0.7, 0.3]).reshape(1, 3, 1, 1).expand(1, 3, 24, 20)
    assert sharpness(flat, region(1)).item() == 0
    assert sharpness_ratio(flat, pictures(1), region(1)).item() == 0
    assert math.isnan(sharpness_ratio(pictures(1), flat, region(1)).item())
    assert math.isnan(sharpness(pictures(1), ~region(1) & region(1)).item())


def test_blur_of_the_region_is_seen_inside_and_only_there():
    twins, regions = pictures(3), region(3)
    images = torch.cat([faded(twins[i : i + 1], regions[:1], factor) for i, factor in enumerate((0.5, 0.8, 0.1))])
    inside, outside = SharpnessInside(), SharpnessOutside()
    for measure in (inside, outside):
        measure.update(images, twins, regions)
    # Exact, since no neighbour of a counted pixel lies across the region's border.
    assert inside.ratios == pytest.approx([0.25, 0.64, 0.01])
    assert inside.compute() == pytest.approx(0.25)
    assert outside.ratios == pytest.approx([1, 1, 1], abs=1e-12)
    smooth = torch.from_numpy(gaussian_filter(twins.numpy(), (0, 0, 1, 1)))
    assert (sharpness_ratio(smooth, twins, regions) < 0.1).all()


def test_blur_of_the_rest_is_seen_outside_and_only_there():
    twins, regions = pictures(1), region(1)
    inside, outside = SharpnessInside(), SharpnessOutside()
    for measure in (inside, outside):
        measure.update(faded(twins, ~regions, 0.5), twins, regions)
    assert (inside.compute(), outside.compute()) == (pytest.approx(1), pytest.approx(0.25))


def test_regions_too_small_after_the_rim_are_skipped():
    twins, regions = pictures(5), torch.zeros(5, 24, 20, dtype=torch.bool)
    regions[0, 5:13, 5:13] = True  # 8×8 leaves 4×4, just enough
    regions[1, 5:13, 5:12] = True  # 8×7 leaves 4×3
    regions[2, :, :17] = True  # leaves one column of the rest, 24 pixels
    regions[3, :, :18] = True  # leaves none of the rest
    inside, outside = SharpnessInside(), SharpnessOutside()
    for measure in (inside, outside):
        measure.update(twins, twins, regions)  # the last has no region: it is all rest
    assert (inside.ratios, inside.skipped) == (pytest.approx([1, 1, 1]), 2)
    assert (outside.ratios, outside.skipped) == (pytest.approx([1, 1, 1, 1]), 1)


def test_flat_twins_are_skipped():
    measure = SharpnessInside()
    measure.update(pictures(1), torch.full((1, 3, 24, 20), 0.5), region(1))
    assert (measure.ratios, measure.skipped) == ([], 1)
    assert math.isnan(measure.compute())


@pytest.mark.parametrize("kind", [SharpnessInside, SharpnessOutside])
def test_batches_and_processes_add_up(kind):
    images, twins, regions = pictures(4, seed=1), pictures(4), region(4)
    regions[3] = False
    one, other, whole = kind(), kind(), kind()
    whole.update(images, twins, regions)
    one.update(images[:1], twins[:1], regions[:1])
    other.update(images[1:], twins[1:], regions[1:])
    assert one.merge(other).compute() == pytest.approx(statistics.median(whole.ratios)) == whole.compute()
    assert (one.skipped, len(one.ratios)) == ((1, 3) if kind is SharpnessInside else (0, 4))


def test_bad_input():
    with pytest.raises(InputError, match="Resize neither"):
        sharpness_ratio(pictures(1), pictures(2), region(1))
    with pytest.raises(InputError, match="regions is a tensor"):
        SharpnessInside().update(pictures(1), pictures(1), region(1).float())
    with pytest.raises(InputError, match=r"images must be floats in \[0, 1\]"):
        sharpness(2 * pictures(1), region(1))
