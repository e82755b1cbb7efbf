"""Pictures find their prompts and twins, or the first that doesn't is named."""

import numpy as np
import pytest
import torch
from PIL import Image

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.images import as_pil, as_tensor, pair_images, read_batches

ROWS = [{"prompt": f"prompt {i}", "labels": ["cup"]} for i in range(3)]
NAMES = ["1.png", "2.png", "10.png"]


def test_rows_follow_numbers_in_names(save, write_rows, pictures):
    folder = save("images", pictures[:3], ["10.png", "1.png", "2.png"])
    (folder / "notes.txt").write_text("no picture")
    (folder / "._1.png").write_text("hidden")
    pairs = pair_images(folder, write_rows(ROWS))
    assert [(pair.path.name, pair.prompt.text) for pair in pairs] == [
        ("1.png", "prompt 0"),
        ("2.png", "prompt 1"),
        ("10.png", "prompt 2"),
    ]
    assert pairs[0].prompt.labels == ("cup",)


def test_zero_padded_names_are_in_plain_order(save, write_rows, pictures):
    names = ["007.png", "008.jpg", "010.webp"]
    pairs = pair_images(save("images", pictures[:3], names), write_rows(ROWS))
    assert [pair.path.name for pair in pairs] == names


def test_rows_with_file_names_find_their_own(save, write_rows, pictures):
    rows = [row | {"file": name} for row, name in zip(ROWS, ["2.png", "10.png", "1.png"], strict=True)]
    pairs = pair_images(save("images", pictures[:3], NAMES), write_rows(rows))
    assert [pair.path.name for pair in pairs] == ["2.png", "10.png", "1.png"]


def test_batches_hold_the_pictures_and_their_twins(save, write_rows, pictures):
    images, twins = save("images", pictures[:3], NAMES), save("twins", pictures[3:6], NAMES)
    batches = list(read_batches(pair_images(images, write_rows(ROWS), twins), batch_size=2))
    assert [len(batch.images) for batch in batches] == [2, 1]
    for kind, originals in (("images", pictures[:3]), ("twins", pictures[3:6])):
        read = [image for batch in batches for image in getattr(batch, kind)]
        assert all(np.array_equal(a, b) for a, b in zip(read, originals, strict=True))


def test_batches_are_read_when_they_are_asked_for(save, write_rows, pictures):
    folder = save("images", pictures[:3], NAMES)
    batches = read_batches(pair_images(folder, write_rows(ROWS)), batch_size=1)
    next(batches)
    (folder / "2.png").unlink()
    with pytest.raises(InputError, match=r"Can't read the image .*2\.png"):
        next(batches)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[:2], r"holds 3 images, but .* has 2 rows: 10\.png is the first image without a prompt"),
        ([*ROWS, *ROWS], r"line 4: 6 rows .* only 3; this row is the first without one"),
        ([ROWS[0] | {"file": "1.png"}, *ROWS[1:]], "line 2: the field 'file' is missing"),
        ([row | {"file": "3.png"} for row in ROWS], r"line 1: there is no image '3\.png'"),
        ([row | {"file": "../images/1.png"} for row in ROWS], "bare file name"),
        ([row | {"file": "1.png"} for row in ROWS], r"line 2: the image '1\.png' already belongs to .*line 1"),
        ([ROWS[0] | {"file": "1.png"}, ROWS[1] | {"file": "10.png"}], r"2\.png is named by no row"),
        ([{"labels": []}, *ROWS[1:]], "line 1: the field 'prompt' is missing"),
        ([row | {"seed": 3} for row in ROWS], "line 1: the field 'seed' is unknown"),
    ],
)
def test_what_does_not_pair_is_named(save, write_rows, pictures, rows, message):
    with pytest.raises(InputError, match=message):
        pair_images(save("images", pictures[:3], NAMES), write_rows(rows))


def test_twins_must_be_the_same_pictures(save, write_rows, pictures):
    images, rows = save("images", pictures[:3], NAMES), write_rows(ROWS)
    with pytest.raises(InputError, match=r"10\.png has no twin"):
        pair_images(images, rows, save("fewer", pictures[:2], NAMES[:2]))
    with pytest.raises(InputError, match=r"3\.png is a twin of no image"):
        pair_images(images, rows, save("more", pictures[:4], [*NAMES, "3.png"]))
    smaller = save("smaller", [image.resize((8, 8)) for image in pictures[:3]], NAMES)
    with pytest.raises(InputError, match=r"40×32 and its twin .* is 8×8"):
        list(read_batches(pair_images(images, rows, smaller), batch_size=2))


def test_broken_folders_and_pictures(tmp_path, save, write_rows, pictures):
    rows = write_rows(ROWS[:1])
    with pytest.raises(InputError, match="Can't read the image folder"):
        pair_images(tmp_path / "nowhere", rows)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        pair_images(tmp_path / "empty", rows)
    folder = save("images", pictures[:1], ["1.png"])
    content = (folder / "1.png").read_bytes()
    for broken in (b"", b"not a picture", content[: len(content) // 2]):
        (folder / "1.png").write_bytes(broken)
        with pytest.raises(InputError, match=r"Can't read the image .*1\.png"):
            list(read_batches(pair_images(folder, rows), batch_size=1))
    with pytest.raises(InputError, match="batch_size is 0"):
        list(read_batches([], batch_size=0))


def test_tensors_and_pictures_are_the_same(pictures):
    tensor = as_tensor(pictures)
    assert tensor.shape == (7, 3, 32, 40)
    assert all(np.array_equal(a, b) for a, b in zip(as_pil(tensor), pictures, strict=True))
    with pytest.raises(InputError, match="holds a str"):
        as_pil(["x.png"])  # ty: ignore[invalid-argument-type]
    assert as_pil(torch.zeros(0, 3, 4, 4)) == []
    assert Image.fromarray(np.asarray(as_pil(tensor)[0])).mode == "RGB"
