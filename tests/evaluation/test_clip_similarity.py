"""CLIP similarity to the twin against open_clip called directly."""

import math

import pytest
import torch

from dsas_diffusion.evaluation.clip_judge import ClipJudge
from dsas_diffusion.evaluation.clip_similarity import ClipSimilarity, clip_similarity


@torch.no_grad()
def test_similarity_to_the_twin_is_open_clips_cosine(open_clip_parts, pictures):
    judge, (model, preprocess, _) = ClipJudge(*open_clip_parts), open_clip_parts
    features = model.encode_image(torch.stack([preprocess(image) for image in pictures]), normalize=True)
    expected = (features[:3] * features[3:6]).sum(-1)
    one, other = judge.image_features(pictures[:3]), judge.image_features(pictures[3:6])
    torch.testing.assert_close(clip_similarity(one, other), expected, atol=1e-5, rtol=0)
    parts = [ClipSimilarity(), ClipSimilarity()]
    parts[0].update(one[:1], other[:1])
    parts[1].update(one[1:], other[1:])
    assert parts[0].merge(parts[1]).compute() == pytest.approx(float(expected.mean()), abs=1e-5)
    assert math.isnan(ClipSimilarity().compute())
