"""Pictures on disk, and a tiny CLIP of open_clip's real class."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

CLIP_CONFIG = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A folder as open_clip saves a model, with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**CLIP_CONFIG["model_cfg"])
    (folder / "open_clip_config.json").write_text(json.dumps(CLIP_CONFIG))
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    return folder


@pytest.fixture(scope="session")
def open_clip_parts(clip_folder):
    """What open_clip itself gives for the folder: the oracle's model, preprocessing and tokenizer."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    return model.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{clip_folder}")


@pytest.fixture
def pictures():
    """Seven different pictures of 40×32."""
    noise = np.random.default_rng(0)
    return [Image.fromarray(noise.integers(0, 256, (32, 40, 3), dtype=np.uint8)) for _ in range(7)]


@pytest.fixture
def save(tmp_path):
    """Write pictures into a folder under given names."""

    def write(folder, images, names):
        path = tmp_path / folder
        path.mkdir()
        for image, name in zip(images, names, strict=True):
            image.save(path / name)
        return path

    return write


@pytest.fixture
def write_rows(tmp_path):
    """Write a prompts file."""

    def write(rows, name="prompts.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write
