"""The demo: from nothing to judged pictures, the same every time; bad input before any work."""

import json
from itertools import pairwise

import pytest
from PIL import Image

from dsas_diffusion.cli import main
from dsas_diffusion.demo import KINDS, first_seed, summary, table


def run(tmp_path, name: str) -> dict:
    out = tmp_path / name
    assert main(["demo", "--quick", "--out", str(out)]) == 0
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


@pytest.mark.full
def test_demo_twice_with_one_seed_gives_the_same_figures(tmp_path, capsys):
    one, two = run(tmp_path, "one"), run(tmp_path, "two")
    for report in (one, two):  # times are the machine's
        report["fit"].pop("seconds")
        report.pop("cost")
    assert one == two
    assert "control: objects kept" in capsys.readouterr().out
    assert one["removal"]["unsteered_rate"] > 0.9
    assert one["removal"]["left"] <= 0.25
    assert one["preservation"]["psnr_median"] > 30
    for kind in KINDS:
        for side in ("unsteered", "steered"):
            pictures = sorted((tmp_path / "one" / "images" / kind / side).iterdir())
            assert [p.name for p in pictures] == [f"{i:03d}.png" for i in range(16)]
            assert all(
                a.read_bytes() == (tmp_path / "two" / a.relative_to(tmp_path / "one")).read_bytes() for a in pictures
            )
        rows = (tmp_path / "one" / "images" / kind / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(row)["file"] for row in rows] == [f"{i:03d}.png" for i in range(16)]
    assert Image.open(tmp_path / "one" / "grid.png").size[0] > 500
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["grid.png", "images", "report.json", "steerer"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--concept", "melon"], "concept is 'melon'"),
        (["--strength", "nan"], "--strength is 'nan', which it can't be; accepted is a finite number"),
        (["--strength", ".inf"], "strength must be a finite number"),
        (["--out", "/dev/null/demo"], "/dev/null"),
    ],
)
def test_bad_input_is_one_paragraph_and_status_2(options, message, capsys):
    assert main(["demo", "--quick", *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_a_folder_with_other_files_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_groups_of_pictures_share_no_seed():
    starts = [first_seed(seed, part) for seed in range(3) for part in range(10)]
    assert all(later - earlier >= 10_000 for earlier, later in pairwise(starts))


def test_summary_and_table_hold_each_figure_once():
    paired = {"removal": 0.9, "no_invented_object": 0.8, "objects_kept": 0.7, "psnr_median": 40.0}
    images = {"concept_rate": 0.1, "clip_concept_rate": 0.2, "clip_concept": 30.0, "clip_prompt": 31.0}
    twins = {"concept_rate": 1.0, "clip_concept_rate": 0.95, "clip_concept": 60.0, "clip_prompt": 61.0}
    figures = summary({kind: {"images": images, "twins": twins, "paired": paired} for kind in KINDS})
    assert figures["removal"]["left"] == pytest.approx(0.1)
    assert figures["removal"]["clip_unsteered"] == 60.0
    assert figures["preservation"] == {
        "objects_kept": 0.7, "psnr_median": 40.0, "clip_unsteered": 61.0, "clip_steered": 31.0,
    }  # fmt: skip
    report = {"concept": "banana", "gate": "calibrated", "strength": 4.0, **figures, "cost": {"overhead_ratio": 1.05}}
    shown = table({**report, "rivals": {"always": {"strength": 2.0, **figures}}})
    assert "always λ=2" in shown
    assert "1.050" in shown
