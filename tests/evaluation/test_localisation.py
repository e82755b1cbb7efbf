"""Localisation against counting pairs of pixels and sets of pixels."""

import math
import pickle
import warnings

import pytest
import torch

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.localisation import LocalisationAuroc, MeanIou, iou, localisation_auroc


def scene():
    """Four maps with ties, the last of a picture without the concept."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(4, 5, 6, generator=generator) > 0.7
    masks[3] = False
    maps = ((torch.rand(4, 5, 6, generator=generator) + masks) * 4).round() / 8
    return maps, masks


def by_pairs(maps, masks):
    pixels = list(zip(maps.flatten().tolist(), masks.flatten().tolist(), strict=True))
    concept, rest = ([value for value, truth in pixels if truth is wanted] for wanted in (True, False))
    wins = sum((a > b) + (a == b) / 2 for a in concept for b in rest)
    return wins / (len(concept) * len(rest))


def test_auroc_against_pairs():
    maps, masks = scene()
    expected = by_pairs(maps[:3], masks[:3])
    assert 0.6 < expected < 1
    assert expected != pytest.approx(by_pairs(maps, masks), abs=1e-3)  # the picture without the concept would count
    assert localisation_auroc(maps, masks) == pytest.approx(expected)


def test_pixels_are_pooled_over_pictures():
    # Each map is right by itself, but the second picture's concept has less than the first one's rest.
    masks = torch.tensor([[[True, False]], [[True, False]]])
    assert localisation_auroc(torch.tensor([[[0.9, 0.6]], [[0.5, 0.1]]]), masks) == 3 / 4
    assert localisation_auroc(torch.full((2, 1, 2), 0.3), masks) == 1 / 2


def test_iou_against_sets():
    maps, masks = scene()
    for found, values, mask in zip(iou(maps, masks).tolist(), maps, masks, strict=True):
        P, M = ({tuple(pixel) for pixel in where.nonzero().tolist()} for where in (values > 0.5, mask))
        assert found == pytest.approx(len(P & M) / len(P | M) if M else math.nan, nan_ok=True)
    assert (maps == 0.5).any()  # a half is not more than a half
    assert iou(torch.zeros(1, 5, 6), masks[:1]).item() == 0


def test_no_pixel_of_one_kind():
    maps, masks = scene()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for none in (torch.zeros_like(masks), torch.ones_like(masks)):
            assert math.isnan(localisation_auroc(maps, none))
            measure = LocalisationAuroc()
            measure.update(maps, none)
            assert math.isnan(measure.compute())
    mean = MeanIou()
    mean.update(maps, torch.zeros_like(masks))
    assert math.isnan(mean.compute())
    assert math.isnan(LocalisationAuroc().compute())


def test_batches_and_processes_add_up():
    maps, masks = scene()
    for kind in (LocalisationAuroc, MeanIou):
        one, other = kind(), kind()
        one.update(maps[:1], masks[:1])
        other.update(maps[1:], masks[1:])
        expected = localisation_auroc(maps, masks) if kind is LocalisationAuroc else iou(maps, masks)[:3].mean().item()
        assert one.merge(pickle.loads(pickle.dumps(other))).compute() == pytest.approx(expected)


def test_bad_input():
    maps, masks = scene()
    for measured in (localisation_auroc, iou, LocalisationAuroc().update, MeanIou().update):
        with pytest.raises(InputError, match=r"maps is a tensor of shape \(4, 1, 5, 6\)"):
            measured(maps.unsqueeze(1), masks)
        with pytest.raises(InputError, match=r"maps must be floats in \[0, 1\]"):
            measured(maps * 9, masks)
        with pytest.raises(InputError, match="masks is a tensor"):
            measured(maps, masks[:2])
