"""Perceptual distance against equation 1 of LPIPS written out place by place."""

import math
import pickle

import numpy as np
import pytest
import torch

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.clip_judge import ClipJudge
from dsas_diffusion.evaluation.perceptual import PerceptualDistance, perceptual_distance


def maps(seed, count=3):
    noise = np.random.default_rng(seed)
    return [torch.from_numpy(noise.normal(size=(count, *shape))).float() for shape in ((4, 6, 5), (7, 3, 2))]


def by_places(layers, twins):
    total = np.zeros(len(layers[0]))
    for layer, twin in zip(layers, twins, strict=True):
        y, z = layer.double().numpy(), twin.double().numpy()
        for n in range(len(y)):
            squares = [
                (
                    (y[n, :, i, j] / np.linalg.norm(y[n, :, i, j]) - z[n, :, i, j] / np.linalg.norm(z[n, :, i, j])) ** 2
                ).sum()
                for i in range(y.shape[2])
                for j in range(y.shape[3])
            ]
            total[n] += np.mean(squares)
    return total


def test_equation_1():
    np.testing.assert_allclose(perceptual_distance(maps(0), maps(1)).numpy(), by_places(maps(0), maps(1)), rtol=1e-12)


def test_known_cases():
    ones = [torch.ones(1, 2, 3, 3)]
    assert perceptual_distance(ones, ones).tolist() == [0]
    assert perceptual_distance(ones, [7 * ones[0]]).tolist() == pytest.approx([0], abs=1e-15)  # length doesn't count
    assert perceptual_distance(ones, [-ones[0]]).tolist() == pytest.approx([4])
    across = [torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1).expand(1, 2, 3, 3)]
    assert perceptual_distance(ones * 2, across * 2).tolist() == pytest.approx([4])  # 2 a layer
    assert perceptual_distance(ones, [0 * ones[0]]).tolist() == pytest.approx([1])  # nothing fired in the twin


def test_batches_and_processes_add_up():
    one, other = PerceptualDistance(), PerceptualDistance()
    one.update([layer[:1] for layer in maps(0)], [layer[:1] for layer in maps(1)])
    other.update([layer[1:] for layer in maps(0)], [layer[1:] for layer in maps(1)])
    assert one.merge(pickle.loads(pickle.dumps(other))).compute() == pytest.approx(by_places(maps(0), maps(1)).mean())
    assert math.isnan(PerceptualDistance().compute())


@torch.no_grad()
def test_maps_of_a_vision_transformer(open_clip_parts, pictures):
    judge = ClipJudge(*open_clip_parts, batch_size=3)
    (found,) = judge.feature_maps(pictures)  # the tiny tower has one block
    model, preprocess, _ = open_clip_parts
    seen = []
    handle = model.visual.transformer.resblocks[0].register_forward_hook(lambda *call: seen.append(call[-1]))
    model.encode_image(torch.stack([preprocess(image) for image in pictures]))
    handle.remove()
    expected = seen[0][:, 1:].transpose(1, 2).reshape(7, 16, 4, 4)  # without the class token
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_maps_of_orchards_clip(pictures):
    from dsas_diffusion import orchard

    model, preprocess, tokenizer = orchard.load_clip()
    found = ClipJudge(model, preprocess, tokenizer).feature_maps(pictures)
    x, expected = torch.stack([preprocess(image) for image in pictures]), []
    for stage in ("stem", "layer1", "layer2", "layer3", "layer4"):
        x = getattr(model.visual, stage)(x)
        expected.append(x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("layers", "twins", "message"),
    [
        ([], [], "one or more"),
        (maps(0), maps(1)[:1], "the same layers"),
        (maps(0), [layer[:2] for layer in maps(1)], "the same layers"),
        ([torch.zeros(2, 3)], [torch.zeros(2, 3)], r"each \(n, channels, height, width\)"),
        ([torch.full((1, 1, 2, 2), torch.inf)], [torch.zeros(1, 1, 2, 2)], "NaN or an infinity"),
    ],
)
def test_bad_input(layers, twins, message):
    with pytest.raises(InputError, match=message):
        perceptual_distance(layers, twins)
