"""Change inside and outside a region against counting by hand."""

import math

import pytest
import torch

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.change import ChangeInside, ChangeOutside, change

REGIONS = torch.zeros(3, 12, 12, dtype=torch.bool)
REGIONS[0, 4:8, 4:8] = True
REGIONS[1, 0:2, 0:2] = True


def twins_with_a_known_change():
    """0.3 in the region, 0.9 on the rim of 2 pixels around it, 0.1 beyond: in red only, so a third of it counts."""
    amounts = torch.full((3, 12, 12), 0.1)
    amounts[0, 2:10, 2:10] = 0.9
    amounts[1, 0:4, 0:4] = 0.9
    amounts[REGIONS] = 0.3
    twins = torch.zeros(3, 3, 12, 12)
    images = twins.clone()
    images[:, 0] = amounts
    return images, twins


def test_pure_function():
    images, twins = twins_with_a_known_change()
    assert change(images, twins, REGIONS).tolist() == pytest.approx([0.1, 0.1, math.nan], nan_ok=True)
    everywhere = torch.ones_like(REGIONS)
    first = (16 * 0.3 + (64 - 16) * 0.9 + (144 - 64) * 0.1) / 144 / 3
    assert change(images, twins, everywhere)[0].item() == pytest.approx(first)
    assert change(twins, images, everywhere)[0].item() == pytest.approx(first)
    assert change(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2), everywhere[:1, :2, :2]).item() == 1


def test_inside_and_outside_without_the_rim():
    inside, outside = ChangeInside(), ChangeOutside()
    for measure in (inside, outside):
        measure.update(*twins_with_a_known_change(), REGIONS)
    assert (inside.compute(), inside.pictures, inside.skipped) == (pytest.approx(0.1), 2, 1)
    assert (outside.compute(), outside.pictures, outside.skipped) == (pytest.approx(0.1 / 3), 3, 0)


def test_region_that_leaves_nothing_outside():
    outside = ChangeOutside()
    outside.update(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))
    assert (outside.pictures, outside.skipped) == (0, 1)
    assert math.isnan(outside.compute())


@pytest.mark.parametrize("kind", [ChangeInside, ChangeOutside])
def test_batches_and_processes_add_up(kind):
    images = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    twins = images.flip(0).sqrt()
    one, other, whole = kind(), kind(), kind()
    whole.update(images, twins, REGIONS)
    one.update(images[:1], twins[:1], REGIONS[:1])
    other.update(images[1:], twins[1:], REGIONS[1:])
    one.merge(other)
    assert one.compute() == pytest.approx(whole.compute())
    assert (one.pictures, one.skipped) == (whole.pictures, whole.skipped)


def test_bad_input():
    with pytest.raises(InputError, match="masks is a tensor"):
        change(torch.zeros(3, 3, 12, 12), torch.zeros(3, 3, 12, 12), REGIONS[:2])
    with pytest.raises(InputError, match=r"regions is a tensor .* torch.uint8"):
        ChangeOutside().update(torch.zeros(3, 3, 12, 12), torch.zeros(3, 3, 12, 12), REGIONS.to(torch.uint8))
