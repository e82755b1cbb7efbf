"""Whole folders, and `dsas evaluate images` as people call it."""

import json
import math

import pytest
from coloured import detect_colours, picture

from dsas_diffusion import cli
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.clip import ClipJudge
from dsas_diffusion.evaluation.images import as_tensor, pair_images
from dsas_diffusion.evaluation.pairs import evaluate_pairs, figures_table, object_of
from dsas_diffusion.evaluation.psnr import psnr

ROWS = [
    {"prompt": "a strawberry", "labels": ["strawberry"]},
    {"prompt": "a strawberry and a lime", "labels": ["strawberry", "lime"]},
    {"prompt": "a plum", "labels": ["plum"]},
    {"prompt": "a plum and a cactus", "labels": ["plum", "cactus"]},
]
TWINS = [picture("strawberry"), picture("strawberry", "lime"), picture("plum"), picture("plum")]
STEERED = [picture("lime"), picture("lime"), picture("plum"), picture("plum")]
NAMES = [f"{i:03}.png" for i in range(4)]


@pytest.fixture
def folders(save, write_rows):
    return save("steered", STEERED, NAMES), write_rows(ROWS), save("unsteered", TWINS, NAMES)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_figures_of_a_folder(folders, open_clip_parts, batch_size):
    images, prompts, twins = folders
    judge = ClipJudge(*open_clip_parts)
    figures = evaluate_pairs(
        pair_images(images, prompts, twins),
        clip=judge,
        detector=detect_colours,
        concept="a photo of a Strawberry",
        alternatives=["a plum"],
        batch_size=batch_size,
    )
    assert (figures["pictures"], figures["concept_object"], figures["unknown_labels"]) == (4, "strawberry", ["cactus"])
    steered, unsteered, paired = figures["images"], figures["twins"], figures["paired"]
    assert (steered["concept_rate"], unsteered["concept_rate"]) == (0, 0.5)
    assert (steered["objects_shown"], unsteered["objects_shown"]) == (3 / 5, 1)
    assert steered["labels"] == {"lime": 1, "plum": 1, "strawberry": 0}
    assert (paired["removal"], paired["objects_kept"], paired["no_invented_object"]) == (1, 1, 3 / 4)
    own = paired["each"]
    assert sum(own["concept_unsteered"]) == 2
    assert sum(own["concept_steered"]) == 0
    assert [left for left in own["concept_left"] if left == left] == [0, 0]
    assert sum(own["invented"]) == 1
    each = psnr(as_tensor(STEERED), as_tensor(TWINS)).tolist()
    assert paired["psnr_median"] == math.inf == sorted(each)[2]
    for side, pictures in ((steered, STEERED), (unsteered, TWINS)):
        texts = [row["prompt"] for row in ROWS]
        assert side["clip_prompt"] == pytest.approx(float(judge.scores(pictures, texts).mean()), abs=1e-3)
        concept = judge.scores(pictures, ["a photo of a Strawberry"])
        assert side["clip_concept"] == pytest.approx(float(concept.mean()), abs=1e-3)
        chosen = judge.zero_shot(pictures, ["a photo of a Strawberry", "a plum"]).argmax(-1) == 0
        assert side["clip_concept_rate"] == float(chosen.float().mean())
    table = figures_table(figures)
    assert "strawberry removed, of the twins that show it" in table
    assert "∞" in table


def test_without_twins_concept_or_detector(folders, open_clip_parts):
    images, prompts, _ = folders
    figures = evaluate_pairs(pair_images(images, prompts), clip=ClipJudge(*open_clip_parts))
    assert figures["twins"] is figures["paired"] is None
    lines = figures_table(figures).split("\n")
    assert len(lines) == 3
    assert lines[2].startswith("CLIP score to the prompt")
    with pytest.raises(InputError, match="no concept to set them against"):
        evaluate_pairs(pair_images(images, prompts), clip=ClipJudge(*open_clip_parts), alternatives=["a plum"])


@pytest.mark.parametrize(
    ("text", "found"),
    [("a photo of a cup", "cup"), ("CUP", "cup"), ("a cupboard", None), ("a cup and a book", None), (None, None)],
)
def test_object_of(text, found):
    assert object_of(text, ["cup", "book"]) == found


def test_command_prints_and_writes(folders, clip_folder, tmp_path, capsys):
    images, prompts, twins = map(str, folders)
    out = tmp_path / "new" / "figures.json"
    line = [
        "evaluate",
        "images",
        "--images",
        images,
        "--prompts",
        prompts,
        "--twins",
        twins,
        "--clip",
        str(clip_folder),
    ]
    more = [
        "--detector",
        "none",
        "--concept",
        "a strawberry",
        "--alternatives",
        '["a plum", "a lime, cut"]',
        "--batch-size",
        "3",
    ]
    assert cli.main([*line, *more, "--json", str(out), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "CLIP score to the prompt" in printed
    assert "median PSNR to the twin, dB" in printed
    figures = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert figures["settings"]["alternatives"] == ["a plum", "a lime, cut"]
    assert figures["paired"]["psnr_median"] == 100.0  # identical, and JSON has no infinity
    assert figures["images"]["concept_rate"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--images": "nowhere"}, "Can't read the image folder nowhere"),
        ({"--prompts": "nowhere.jsonl"}, "Can't read nowhere.jsonl"),
        ({"--clip": "nowhere"}, "neither a folder nor a model that open_clip knows"),
        ({"--clip": "none"}, "nothing to measure"),
        ({"--batch-size": "0"}, "batch_size is 0"),
        ({"--device": "abacus"}, "device is 'abacus'"),
    ],
)
def test_command_explains_bad_input(folders, clip_folder, tmp_path, capsys, change, message):
    out = tmp_path / "figures.json"
    options = {
        "--images": str(folders[0]),
        "--prompts": str(folders[1]),
        "--clip": str(clip_folder),
        "--detector": "none",
    }
    words = [word for pair in (options | {"--json": str(out)} | change).items() for word in pair]
    assert cli.main(["evaluate", "images", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not out.exists()


def test_orchards_judges_refuse_pictures_of_another_world(save, write_rows, pictures, capsys):
    folder, rows = save("photos", pictures[:1], ["1.png"]), write_rows(ROWS[:1])
    assert cli.main(["evaluate", "images", "--images", str(folder), "--prompts", str(rows)]) == 2
    assert "no picture of Orchard's: those are 64×64" in capsys.readouterr().err
