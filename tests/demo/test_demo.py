"""The demo: from nothing to judged pictures, the same every time; bad input before any work."""

import json
from itertools import pairwise

import pytest
from PIL import Image

from dsas_diffusion.cli import main
from dsas_diffusion.demo.demo import demo
from dsas_diffusion.demo.figures import KINDS, better_by, first_seed
from dsas_diffusion.demo.report import card, markdown, table
from dsas_diffusion.errors import InputError
from dsas_diffusion.prompts import Prompt


def run(tmp_path, name: str, *options: str) -> dict:
    out = tmp_path / name
    assert main(["demo", "--quick", "--out", str(out), *options]) == 0
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
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "gates.png", "grid.png", "images", "report.json", "report.md", "steerer",
    ]  # fmt: skip
    assert one["localisation"]["gate_auroc"] > 0.8


@pytest.mark.full
def test_the_dit_forgets_the_concept_and_keeps_the_rest(tmp_path):
    report = run(tmp_path, "dit", "--pipeline", "dit")
    assert report["removal"]["unsteered_rate"] > 0.9
    assert report["removal"]["left"] <= 0.25
    assert report["preservation"]["objects_kept"] > 0.9
    assert report["localisation"]["gate_auroc"] > 0.8
    assert {site["path"].rpartition(".")[2] for site in report["fit"]["sites"]} == {"attn"}


@pytest.mark.full
def test_blur_task_blurs_the_concept_and_not_the_rest(tmp_path, capsys):
    report = run(tmp_path, "blur", "--task", "blur")
    assert report["blur"]["inside_ratio"] < 0.6
    assert report["blur"]["outside_ratio"] > 0.8
    assert report["blur"]["control_ratio"] > 0.8
    assert report["removal"]["steered_rate"] > 0.5  # blurred, not gone
    assert report["rivals"] == {}
    assert "sharpness on the banana" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--concept", "melon"], "concept is 'melon'"),
        (["--task", "smudge"], "--task is 'smudge'"),
        (["--pipeline", "gan"], "--pipeline is 'gan'"),
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


def figures(**changed: float) -> dict:
    part = {
        "removal": {
            "unsteered_rate": 1.0, "left": 0.1, "clip_rate_unsteered": 0.95, "clip_rate_steered": 0.2,
            "no_invented_object": 0.8, "kid_to_target": 0.01,
        },
        "preservation": {
            "objects_kept": 0.7, "psnr_median": 40.0, "ssim_mean": 0.9, "clip_unsteered": 61.0, "clip_steered": 31.0,
        },
        "mixed": {"left": 0.1, "other_kept": 0.9, "change_outside": 0.01},
        "localisation": {"gate_auroc": 0.93, "gate_iou": 0.4},
        "blur": None,
    }  # fmt: skip
    return {**part, **changed}


def test_table_and_markdown_hold_each_figure():
    rival = {
        "strength": 2.0,
        "matched": False,
        **figures(),
        "better_by": {"control_psnr": [12.0, 10.5, 13.5]},
    }
    report = {
        "concept": "banana", "pipeline": "unet", "task": "remove", "method": "caa", "gate": "patch", "strength": 4.0,
        "seed": 0,
        "num_inference_steps": 20, "guidance_scale": 7.5, "fit": {"seconds": 12.0}, **figures(),
        "cost": {"overhead_ratio": 1.05},
        "rivals": {"always": rival},
    }  # fmt: skip
    shown, page = table(report), markdown(report)
    for text in (shown, page):
        assert "always λ=2" in text
        assert all(figure in text for figure in ("1.050", "0.93", "0.8", "61"))
    assert "control psnr against always: +12 (95 % +10.5 to +13.5)" in page
    assert "![gates](gates.png)" in page
    assert "always does not remove as much at any strength that was tried" in page


def test_table_of_a_blur_says_how_sharp_what_is():
    blurred = {"inside_ratio": 0.4321, "outside_ratio": 0.9876, "control_ratio": 1.0}
    report = {
        "concept": "banana", "pipeline": "unet", "task": "blur", "method": "caa", "gate": "patch", "strength": 1.5,
        "seed": 0,
        "num_inference_steps": 20, "guidance_scale": 7.5, "fit": {"seconds": 12.0}, **figures(blur=blurred),
        "cost": {"overhead_ratio": 1.05}, "rivals": {},
    }  # fmt: skip
    for text in (table(report), markdown(report)):
        assert "sharpness on the banana" in text
        assert all(figure in text for figure in ("0.432", "0.988"))


def test_the_steerers_card_has_each_figure_that_was_measured(tmp_path):
    heldout = {kind: [Prompt("a banana"), Prompt("a pear"), Prompt("a cup")] for kind in KINDS}
    for kind in KINDS:
        for side in ("unsteered", "steered"):
            (tmp_path / "images" / kind / side).mkdir(parents=True)
            for index in range(3):
                Image.new("RGB", (8, 8)).save(tmp_path / "images" / kind / side / f"{index:03d}.png")
    report = {
        "concept": "banana", "strength": 2.5, "num_inference_steps": 20, "guidance_scale": 7.5, **figures(),
    }  # fmt: skip
    report["mixed"]["left"], report["preservation"]["psnr_median"] = float("nan"), float("inf")
    made = card(report, tmp_path, heldout)
    assert made.figures["banana drawn, unsteered (source)"] == "1"
    assert made.figures["control: median PSNR to the twin, dB"] == "∞"
    assert "mixed: banana still drawn" not in made.figures
    assert len(made.figures) == 14
    assert "orchard/banana (3 source, 3 control, 3 mixed) at λ = 2.5, 20 steps, guidance 7.5" in made.about
    assert made.picture.width > 100


def test_better_by_leaves_out_prompts_without_a_value_and_caps_identical_pictures():
    nan, inf = float("nan"), float("inf")
    ours = {"psnr": [inf, 90.0, inf], "objects_kept": [1.0, nan, 1.0], "change_outside": [0.1, 0.1, 0.1]}
    theirs = {"psnr": [80.0, 70.0, 100.0], "objects_kept": [0.0, 1.0, 0.0], "change_outside": [0.2, 0.2, 0.2]}
    sides = [{kind: {"paired": {"each": each}} for kind in KINDS} for each in (ours, theirs)]
    found = better_by(*sides)
    assert found["mixed_other_kept"] == [1.0, 1.0, 1.0]
    assert found["mixed_change_outside"] == pytest.approx([-0.1, -0.1, -0.1])
    assert found["control_psnr"][0] == pytest.approx((20 + 20 + 0) / 3)


def test_unknown_names_are_refused_before_any_work():
    for wrong in ({"gate": "nogate"}, {"method": "nomethod"}):
        with pytest.raises(InputError):
            demo(**wrong)
