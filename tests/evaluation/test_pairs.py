"""Whole folders, and `dsas evaluate images` as people call it."""

import csv
import io
import json
import math

import pytest
from coloured import detect_colours, picture

from dsas_diffusion import cli
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.clip_judge import ClipJudge
from dsas_diffusion.evaluation.fid import fid
from dsas_diffusion.evaluation.images import as_tensor, pair_folders, pair_images
from dsas_diffusion.evaluation.kid import kid
from dsas_diffusion.evaluation.pairs import evaluate_pairs, figures_table, object_of
from dsas_diffusion.evaluation.perceptual import perceptual_distance
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


def run(folders, clip_folder, *words, prompts=False):
    given = ["--prompts", str(folders[1])] if prompts else []
    line = ["--images", str(folders[0]), "--twins", str(folders[2]), "--clip", str(clip_folder), "--detector", "none"]
    return cli.main(["evaluate", "images", *line, "--device", "cpu", *given, *words])


def test_two_folders_without_prompts(folders, clip_folder, open_clip_parts, tmp_path, capsys):
    judge, out = ClipJudge(*open_clip_parts), tmp_path / "figures.json"
    texts = ["a strawberry", "a plum", "a lime"]
    words = ["--concept", texts[0], "--alternatives", json.dumps(texts[1:]), "--json", str(out)]
    assert run(folders, clip_folder, *words) == 0
    printed = capsys.readouterr().out
    for line in ("perceptual distance", "KID to the twins", "FID to the twins", "shows the concept, by CLIP"):
        assert line in printed
    assert "CLIP score to the prompt" not in printed
    figures = json.loads(out.read_text())
    sides = [judge.image_features(pictures).double() * 8**0.5 for pictures in (STEERED, TWINS)]
    assert figures["paired"]["kid"] == pytest.approx(kid(*sides), abs=1e-6)
    assert figures["paired"]["fid"] == pytest.approx(fid(*sides), abs=1e-5)
    maps = [judge.feature_maps(pictures) for pictures in (STEERED, TWINS)]
    assert figures["paired"]["perceptual_distance"] == pytest.approx(float(perceptual_distance(*maps).mean()), rel=1e-4)
    before, after = (judge.zero_shot(pictures, texts).argmax(1) == 0 for pictures in (TWINS, STEERED))
    expected = None if not before.any() else float((before & ~after).sum() / before.sum())
    assert figures["paired"]["removal"] == figures["paired"]["clip_removal"] == expected
    assert figures["images"]["clip_concept_rate"] == float(after.double().mean())
    assert all(value is None for value in figures["paired"]["each"]["objects_kept"])


@pytest.mark.parametrize("batch_size", ["1", "32"])
def test_distances_to_references(folders, clip_folder, open_clip_parts, pictures, save, tmp_path, capsys, batch_size):
    place, out = save("references", pictures, [f"{i}.png" for i in range(7)]), tmp_path / "figures.json"
    words = ["--references", str(place), "--json", str(out), "--batch-size", batch_size]
    assert run(folders, clip_folder, *words) == 0
    assert "KID to the references" in capsys.readouterr().out
    figures, judge = json.loads(out.read_text()), ClipJudge(*open_clip_parts)
    references = judge.image_features(pictures).double() * 8**0.5
    for side, images in (("images", STEERED), ("twins", TWINS)):
        features = judge.image_features(images).double() * 8**0.5
        assert figures[side]["kid"] == pytest.approx(kid(features, references), abs=1e-5)
        assert figures[side]["fid"] == pytest.approx(fid(features, references), abs=1e-4)
    assert run(folders, "none", "--references", str(place)) == 2
    assert "need a CLIP's features" in capsys.readouterr().err
    assert run(folders, clip_folder, "--references", str(tmp_path / "nowhere")) == 2
    assert "Can't read the image folder" in capsys.readouterr().err


def test_removal_by_clip_is_counted(folders, open_clip_parts):
    # The random weights choose one of three texts for each picture: as the concept, each text has its own removal.
    judge, pairs = ClipJudge(*open_clip_parts), pair_folders(folders[0], folders[2])
    texts = ["a strawberry", "a plum", "a lime"]
    chosen = [judge.zero_shot(pictures, texts).argmax(1).tolist() for pictures in (TWINS, STEERED)]
    measured = 0
    for number, text in enumerate(texts):
        found = evaluate_pairs(pairs, judge, concept=text, alternatives=[t for t in texts if t != text])["paired"]
        shown = [after == number for before, after in zip(*chosen, strict=True) if before == number]
        if shown:
            assert found["removal"] == 1 - sum(shown) / len(shown)
            measured += 1
    assert measured


@pytest.mark.parametrize("prompts", [True, False])
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rows_of_each_picture(folders, clip_folder, tmp_path, ending, prompts):
    path = tmp_path / "new" / f"rows.{ending}"
    assert run(folders, clip_folder, "--rows", str(path), prompts=prompts) == 0
    text = path.read_text()
    if ending == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        found = [{name: value and float(value) for name, value in row.items() if name != "file"} for row in rows]
        nothing = ""
    else:
        rows = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
        found, nothing = rows, None
    assert [row["file"] for row in rows] == NAMES
    expected = [min(value, 100.0) for value in psnr(as_tensor(STEERED), as_tensor(TWINS)).tolist()]
    assert [row["psnr"] for row in found] == pytest.approx(expected)
    assert [row["concept_steered"] for row in found] == [nothing] * 4
    assert ([row["clip_prompt"] for row in found] == [nothing] * 4) is not prompts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "rows.txt"], "ends in .csv or .jsonl"),
        (["--concept", " "], "CLIP can't look for an empty text"),
        (["--concept", "a plum", "--alternatives", '["a lime", ""]'], "CLIP can't look for an empty text"),
        (["--labels", '["plum"]'], "'plum' is to be found in pictures, but there is no detector"),
    ],
)
def test_what_cannot_be_judged_is_refused_at_the_start(folders, clip_folder, capsys, words, message):
    (folders[0] / "003.png").write_bytes(b"no picture")  # which would be the error, were pictures read first
    assert run(folders, clip_folder, *words) == 2
    assert message in capsys.readouterr().err


def test_orchards_detector_names_what_it_knows(folders, capsys):
    line = ["evaluate", "images", "--images", str(folders[0]), "--twins", str(folders[2]), "--clip", "none"]
    assert cli.main([*line, "--labels", '["zebra"]']) == 2
    assert "The detector knows no 'zebra'; it knows apple" in capsys.readouterr().err
    assert cli.main([*line, "--concept", "a photo of a zebra"]) == 0
    assert "Nothing says which pictures show the concept" in capsys.readouterr().out


def test_a_picture_without_a_partner_is_named(folders, clip_folder, capsys):
    (folders[2] / "002.png").unlink()
    assert run(folders, clip_folder) == 2
    assert "002.png has no twin 002.png" in capsys.readouterr().err
    (folders[0] / "002.png").unlink()
    (folders[0] / "001.png").unlink()
    assert run(folders, clip_folder) == 2
    assert "001.png is a twin of no image" in capsys.readouterr().err


def test_something_to_compare_with_is_needed(folders, clip_folder, capsys):
    line = ["evaluate", "images", "--images", str(folders[0]), "--clip", str(clip_folder), "--detector", "none"]
    assert cli.main(line) == 2
    assert "With neither prompts, twins, references nor a concept" in capsys.readouterr().err
    assert cli.main([*line, "--references", str(folders[2])]) == 0
    assert [part.split("  ")[0] for part in capsys.readouterr().out.splitlines()[2:4]] == [
        "KID to the references, on CLIP's features",
        "FID to the references, on CLIP's features",
    ]
    assert cli.main([*line, "--prompts", str(folders[1]), "--rows", "rows.csv"]) == 2
    assert "each picture's figures are of pairs" in capsys.readouterr().err


def test_a_later_picture_of_another_world_is_refused_too(folders, capsys):
    TWINS[3].resize((32, 32)).save(folders[2] / "003.png")
    assert cli.main(["evaluate", "images", "--images", str(folders[0]), "--twins", str(folders[2])]) == 2
    assert "003.png is no picture of Orchard's" in capsys.readouterr().err


def test_orchards_judges_refuse_pictures_of_another_world(save, write_rows, pictures, capsys):
    folder, rows = save("photos", pictures[:1], ["1.png"]), write_rows(ROWS[:1])
    assert cli.main(["evaluate", "images", "--images", str(folder), "--prompts", str(rows)]) == 2
    assert "no picture of Orchard's: those are 64×64" in capsys.readouterr().err
