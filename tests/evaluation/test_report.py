"""Tables, JSON and sheets."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.report import contact_sheet, format_table, to_json


def test_table_is_aligned():
    rows = [["calibrated", 0.934, 42.123, 12], ["always", math.nan, math.inf, None]]
    table = format_table(rows, {"gate": "", "removal": ".1%", "PSNR, dB": ".1f", "n": "d"})
    assert table.split("\n") == [
        "gate        removal  PSNR, dB   n",
        "──────────  ───────  ────────  ──",
        "calibrated    93.4%      42.1  12",
        "always            –         ∞   –",
    ]
    with pytest.raises(InputError, match="has 1 cells, but the table has 2"):
        format_table([["x"]], {"a": "", "b": ".1f"})


def test_json_is_strict():
    written = to_json({"nan": math.nan, "psnr": math.inf, "rows": [(1, 0.5, None, True)], "text": "λ"})
    assert json.loads(written, parse_constant=pytest.fail) == {
        "nan": None,
        "psnr": 100.0,
        "rows": [[1, 0.5, None, True]],
        "text": "λ",
    }


def test_sheet_shows_every_picture_at_a_whole_scale():
    colours = [(255, 0, 0), (0, 160, 0), (0, 0, 255), (200, 200, 0), (0, 200, 200), (200, 0, 200)]
    images = [Image.new("RGB", (64, 64), colour) for colour in colours]
    rows = [("a prompt " * 30, images[:2]), ("é λ – 香", images[2:4]), ("", images[4:])]
    for across in (1, 2, 5):
        pixels = np.asarray(contact_sheet(rows, ["unsteered", "steered"], across=across)).reshape(-1, 3)
        for colour in colours:
            assert (pixels == colour).all(axis=1).sum() == 192 * 192  # nothing is drawn over any picture
    narrow, wide = (contact_sheet(rows, ["a", "b"], across=across).size for across in (1, 3))
    assert wide[0] == 3 * narrow[0]
    assert wide[1] < narrow[1]


def test_sheet_keeps_long_words_and_large_pictures_inside():
    large = Image.new("RGB", (300, 200), (9, 9, 9))
    sheet = contact_sheet([("x" * 400, [large])], ["one"])
    assert (np.asarray(sheet) == 9).all(axis=2).sum() >= 300 * 200
    border = np.asarray(sheet)[:, -10:]
    assert (border == 255).all()


def test_sheet_refuses_what_it_can_not_draw():
    image = Image.new("RGB", (8, 8))
    with pytest.raises(InputError, match="1 or more of each"):
        contact_sheet([], ["a"])
    with pytest.raises(InputError, match="has 1 pictures, but there are 2 headers"):
        contact_sheet([("x", [image])], ["a", "b"])
