"""One row of figures a picture, against pictures whose content is known and judges called by hand."""

import math

import numpy as np
import pytest
import torch
from coloured import COLOURS, detect_colours, picture
from PIL import Image
from torch.nn import functional as F

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.clip_judge import ClipJudge
from dsas_diffusion.evaluation.images import as_tensor
from dsas_diffusion.evaluation.psnr import psnr
from dsas_diffusion.evaluation.rows import Judge, judge_pictures
from dsas_diffusion.evaluation.ssim import ssim
from dsas_diffusion.prompts import Prompt

PROMPTS = [
    Prompt("a strawberry", ("strawberry",)),
    Prompt("a strawberry and a lime", ("strawberry", "lime")),
    Prompt("a plum", ("plum", "cactus")),
    Prompt("a table"),
]
TWINS = [picture("strawberry"), picture("strawberry", "lime"), picture("plum"), picture()]
IMAGES = [picture("lime"), picture("strawberry", "plum"), picture("plum"), picture()]
TEXTS = ["a photo of a strawberry", "a plum", "a lime"]


@pytest.fixture(scope="module")
def clip(open_clip_parts):
    return ClipJudge(*open_clip_parts)


def column(rows, name):
    return [row[name] for row in rows]


def same(found, expected):
    return np.array_equal(found, expected, equal_nan=True)


def test_an_object_is_judged_by_the_detector():
    rows = judge_pictures(Judge(detect_colours, labels=("strawberry",), goal="lime"), IMAGES, TWINS, PROMPTS)
    nan = math.nan
    assert column(rows, "concept_unsteered") == [1, 1, 0, 0]
    assert column(rows, "concept_steered") == [0, 1, 0, 0]
    assert same(column(rows, "concept_left"), [0, 1, nan, nan])
    assert same(column(rows, "objects_kept"), [nan, 0, 1, nan])
    assert column(rows, "invented") == [1, 1, 0, 0]
    assert column(rows, "goal_unsteered") == [0, 1, 0, 0]
    assert column(rows, "goal_steered") == [1, 0, 0, 0]
    steered, unsteered = as_tensor(IMAGES), as_tensor(TWINS)
    assert same(column(rows, "psnr"), psnr(steered, unsteered).tolist())
    assert same(column(rows, "ssim"), ssim(steered, unsteered).tolist())
    # The concept's region is the left half; it turned from strawberry to lime, and the second time stayed as it was.
    turned = np.abs(np.subtract(COLOURS["lime"], COLOURS["strawberry"])).mean() / 255
    assert column(rows, "change_inside") == pytest.approx([turned, 0, nan, nan], nan_ok=True)
    # Off it, past the rim of 2 of 32 columns, the right half: lime to plum the second time.
    other = np.abs(np.subtract(COLOURS["lime"], COLOURS["plum"])).mean() / 255
    assert column(rows, "change_outside") == pytest.approx([0, other, 0, 0], abs=1e-6)
    assert {name for row in rows for name in row} == {
        *("concept_unsteered", "concept_steered", "concept_left", "objects_kept", "invented"),
        *("goal_unsteered", "goal_steered", "psnr", "ssim"),
        *("change_inside", "change_outside", "sharpness_inside", "sharpness_outside"),
    }


def test_any_of_several_labels_is_the_concept():
    judge = Judge(detect_colours, labels=("strawberry", "plum"))
    rows = judge_pictures(judge, IMAGES, TWINS, PROMPTS)
    assert column(rows, "concept_unsteered") == [1, 1, 1, 0]
    assert column(rows, "concept_steered") == [0, 1, 1, 0]
    assert same(column(rows, "objects_kept"), [math.nan, 0, math.nan, math.nan])
    assert rows[2]["change_inside"] == 0  # plum's half is the region now
    both = judge_pictures(judge, [picture("lime", "plum")], [picture("plum", "strawberry")], [PROMPTS[0]])[0]
    halves = [("lime", "plum"), ("plum", "strawberry")]
    expected = np.mean([np.abs(np.subtract(COLOURS[a], COLOURS[b])).mean() / 255 for a, b in halves])
    assert both["change_inside"] == pytest.approx(expected)  # of two labels both regions count
    assert math.isnan(both["change_outside"])


def test_sharpness_of_noise_blurred_on_one_half():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    noise[:, :32] = COLOURS["strawberry"]  # so that the detector finds it
    noise[:, :32, 1] += np.random.default_rng(1).integers(0, 8, (64, 32), dtype=np.uint8)  # grain, to be blurred
    twin = Image.fromarray(noise)
    half = noise.copy()
    half[:, :32] = COLOURS["strawberry"]
    row = judge_pictures(Judge(detect_colours, labels=("strawberry",)), [Image.fromarray(half)], [twin], [PROMPTS[0]])[
        0
    ]
    assert row["sharpness_inside"] == 0
    assert row["sharpness_outside"] == pytest.approx(1)


def test_clip_judges_what_is_no_object(clip):
    judge = Judge(detect_colours, clip, TEXTS[0], tuple(TEXTS[1:]), backbone=clip.feature_maps)
    rows = judge_pictures(judge, IMAGES, TWINS, PROMPTS)
    shows = {
        end: (clip.zero_shot(pictures, TEXTS).argmax(1) == 0).double().tolist()
        for end, pictures in (("steered", IMAGES), ("unsteered", TWINS))
    }
    for end, name in (("steered", "clip_shows"), ("unsteered", "clip_shows_unsteered")):
        assert column(rows, f"concept_{end}") == column(rows, name) == shows[end]
    for end, pictures in (("", IMAGES), ("_unsteered", TWINS)):
        prompts, concept = [prompt.text for prompt in PROMPTS], [TEXTS[0]]
        assert column(rows, f"clip_prompt{end}") == pytest.approx(clip.scores(pictures, prompts).tolist(), abs=1e-4)
        assert column(rows, f"clip_concept{end}") == pytest.approx(clip.scores(pictures, concept).tolist(), abs=1e-4)
    sides = [clip.image_features(pictures) for pictures in (IMAGES, TWINS)]
    assert column(rows, "clip_twin") == pytest.approx(F.cosine_similarity(*sides).tolist(), abs=1e-6)
    distances = column(rows, "lpips")
    assert distances[2:] == [0, 0]  # identical
    assert min(distances[:2]) > 0
    # Nothing tells where CLIP sees the concept; a picture whose twin doesn't show it is all rest.
    for row in rows:
        assert math.isnan(row["change_inside"])
        assert math.isnan(row["change_outside"]) == bool(row["concept_unsteered"])


def test_both_answers_of_clip(clip):
    # Whatever the random weights choose, one of the texts is chosen: with it as the concept the picture shows it.
    chosen = int(clip.zero_shot([IMAGES[0]], TEXTS).argmax())
    for concept in range(3):
        rest = [text for number, text in enumerate(TEXTS) if number != concept]
        row = judge_pictures(Judge(clip=clip, concept=TEXTS[concept], alternatives=tuple(rest)), *one(0))[0]
        assert row["concept_steered"] == row["clip_shows"] == (concept == chosen)


def one(number):
    return [IMAGES[number]], [TWINS[number]], [PROMPTS[number]]


def test_no_concept_leaves_its_figures_out(clip):
    rows = judge_pictures(Judge(detect_colours, clip), IMAGES, TWINS, PROMPTS)
    for name in (
        "concept_unsteered",
        "concept_steered",
        "concept_left",
        "change_outside",
        "clip_concept",
        "clip_shows",
    ):
        assert all(math.isnan(row[name]) for row in rows)
    assert column(rows, "invented") == [1, 1, 0, 0]
    alone = judge_pictures(Judge(), IMAGES, TWINS, PROMPTS)
    assert all(math.isnan(row["invented"]) and math.isnan(row["objects_kept"]) for row in alone)
    assert same(column(alone, "psnr"), column(rows, "psnr"))


def test_pictures_do_not_depend_on_their_company_and_repeat_exactly(clip):
    judge = Judge(detect_colours, clip, TEXTS[0], tuple(TEXTS[1:]), ("strawberry",), "lime", clip.feature_maps)
    rows = judge_pictures(judge, IMAGES, TWINS, PROMPTS)
    again = judge_pictures(judge, IMAGES, TWINS, PROMPTS)
    for number, row in enumerate(rows):
        assert same(list(row.values()), list(again[number].values()))
        (single,) = judge_pictures(judge, *one(number))
        assert single == pytest.approx(row, abs=1e-4, nan_ok=True)
    assert judge_pictures(judge, [], [], []) == []


def test_pairs_of_different_sizes_in_one_call():
    large = [image.resize((96, 80)) for image in (IMAGES[0], TWINS[0])]
    judge = Judge(labels_of_each, labels=("strawberry",))
    rows = judge_pictures(judge, [IMAGES[0], large[0]], [TWINS[0], large[1]], PROMPTS[:2])
    assert column(rows, "change_inside") == pytest.approx([rows[0]["change_inside"]] * 2)


def labels_of_each(images):
    return detect_colours([image.resize((64, 64), Image.Resampling.NEAREST) for image in images])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": ("cactus",), "detector": detect_colours}, "knows no 'cactus'; it knows lime, plum, strawberry"),
        ({"goal": "cactus", "detector": detect_colours}, "knows no 'cactus'"),
        ({"labels": ("lime",)}, "'lime' is to be found in pictures, but there is no detector"),
        ({"concept": " "}, "CLIP can't look for an empty text"),
        ({"concept": "a plum", "alternatives": ("a lime", "")}, "CLIP can't look for an empty text"),
        ({"alternatives": ("a lime",)}, "no concept to set them against"),
    ],
)
def test_a_judge_without_the_concepts_word(settings, message):
    with pytest.raises(InputError, match=message):
        Judge(**settings)


def test_pairs_that_do_not_fit():
    with pytest.raises(InputError, match="4 images, 3 twins and 4 prompts"):
        judge_pictures(Judge(), IMAGES, TWINS[:3], PROMPTS)
    with pytest.raises(InputError, match=r"images\[1\] is 64×64 and its twin 32×64"):
        judge_pictures(Judge(), IMAGES[:2], [TWINS[0], TWINS[1].resize((32, 64))], PROMPTS[:2])
    assert torch.is_grad_enabled()
