"""The U-Net's training: which scenes it draws, and that pairs and sketches come oftener."""

import numpy as np
import torch

from dsas_diffusion.orchard.tokenizer import build_tokenizer
from dsas_diffusion.orchard.training import unet
from dsas_diffusion.orchard.training.data import SceneBatch
from dsas_diffusion.orchard.training.denoising import weights_of_rows
from dsas_diffusion.orchard.training.text_encoder import build_text_encoder, tokenize
from dsas_diffusion.orchard.world import LOOKS


def test_pairs_and_sketches_are_trained_on_oftener():
    labels = np.zeros((4, 10), dtype=bool)
    labels[0, 0] = labels[1, :2] = labels[2, :2] = True  # the last one is an empty table
    looks = np.array([LOOKS.index(look) for look in ("photo", "blurry", "sketch", "sketch")])
    batch = SceneBatch(np.zeros((4, 64, 64, 3), np.uint8), [""] * 4, labels, looks, np.zeros((4, 10, 8, 8), bool))
    assert weights_of_rows(batch).tolist() == [1.0, 2.0, 3.0, 1.5]


def test_only_scenes_with_weight_are_drawn(tmp_path):
    tokenizer = build_tokenizer()
    captions = ["a banana", "an apple and a pear", "an empty table"]
    ids = tokenize(tokenizer, captions)
    encoder = build_text_encoder(tokenizer).eval()
    seen = []
    encoder.register_forward_pre_hook(lambda m, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    trained = unet.train_unet(
        torch.randn(3, 8, 16, 16).half(), ids, encoder, tokenizer, tmp_path,
        steps=2, batch_size=4, learning_rate=1e-3, device="cpu", row_weights=torch.tensor([0.0, 1.0, 0.0]),
    )  # fmt: skip
    blank = tokenize(tokenizer, [""])[0]
    drawn = [row for batch in seen for row in batch if not torch.equal(row, blank)]
    assert drawn
    assert all(torch.equal(row, ids[1]) for row in drawn)
    assert not trained.training
