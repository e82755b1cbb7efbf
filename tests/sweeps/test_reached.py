"""A sweep's figures by hand and against loops over rows; its folder, whole, unfinished and damaged."""

import json
import math
import re
import shutil

import numpy as np
import pytest
from made_sweep import TASKS, write_cases, write_sweep
from PIL import Image

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.judge import Judge
from dsas_diffusion.evaluation.rows import judge_pictures
from dsas_diffusion.judges import clip_judge, detector_judge
from dsas_diffusion.prompts import Prompt
from dsas_diffusion.sweeps.figures import FIGURES
from dsas_diffusion.sweeps.folder import read_sweep
from dsas_diffusion.sweeps.reached import at_strengths, mean_over_prompts, reached
from dsas_diffusion.sweeps.rows import Cell, Journal, read_rows

NAN = math.nan


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "sweep"
    write_sweep(folder, {"rival": 2.0}, drawn=False)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "copied")
    return tmp_path / "copied"


def row(index, shown=1.0, steered=0.0, **changed):
    figures = {"objects_kept": 1.0, "invented": 0.0, "ssim": 0.8, "psnr": 30.0, "change_outside": 0.1}
    return {"index": float(index), "seed": 1.0, "concept_unsteered": shown, "concept_steered": steered,
            **figures, **changed}  # fmt: skip


def test_figures_by_hand(tmp_path):
    """Two seeds: a prompt's value is the mean over the seeds in which its twin shows the concept."""
    plan = write_sweep(
        tmp_path,
        drawn=False,
        tasks={"banana": {"concepts": ["orchard/banana"]}},
        techniques={"caa": {"settings": {"gate": "always"}}},
        grid={"strengths": [1.0]},
    )
    small = {
        "source": ([row(0), row(1, shown=0)], [row(0, steered=1), row(1, shown=0, steered=1)]),
        "control": (
            [row(0, 0, ssim=0.6, objects_kept=NAN), row(1, 0, ssim=1.0, objects_kept=0.5)],
            [row(0, 0, ssim=0.4), row(1, 0, ssim=0.8, psnr=math.inf)],
        ),
        "mixed": (
            [row(0, steered=1, invented=1), row(1, invented=1)],
            [row(0, objects_kept=0.0), row(1, shown=0, change_outside=0.9)],
        ),
    }
    (tmp_path / "rows" / "banana" / "caa.jsonl").unlink()
    text = (tmp_path / "plan.yaml").read_text().replace("tuning: 6", "tuning: 2").replace("heldout: 8", "heldout: 2")
    (tmp_path / "plan.yaml").write_text(text)
    journal = Journal(tmp_path, "banana", "caa")
    with journal.opened():
        for split in ("tuning", "heldout"):
            for kind, seeds in small.items():
                for seed, rows in enumerate(seeds):
                    journal.append(Cell("banana", "caa", split, kind, seed, 1.0), 0, rows)
    sweep = read_sweep(tmp_path)
    found = reached(sweep, ["banana"], "caa", "heldout")
    assert plan.seeds == 2
    assert found.groups.tolist() == [f"banana/{kind}" for kind in ("source", "control", "mixed") for _ in range(2)]
    assert found.values["removal"][0] == pytest.approx([0.5, NAN, NAN, NAN, 0.5, 1], nan_ok=True)
    assert found.values["ssim"][0] == pytest.approx([NAN, NAN, 0.5, 0.9, NAN, NAN], nan_ok=True)
    wanted = {
        "removal": (0.5 + 0.5 + 1) / 3,
        "clean_removal": (0.5 + 0.5 + 0) / 3,
        "ssim": 0.7,
        "control_kept": (1 + 0.75) / 2,
        "other_kept": (0.5 + 1) / 2,
        "no_invented": (1 + 1 + 0.5 + 0.5) / 4,
        "psnr": (30 + 65) / 2,
        "change_outside": 0.1,
        "lpips": NAN,
        "goal": NAN,
    }
    assert {name: found.means(name)[0] for name in wanted} == pytest.approx(wanted, nan_ok=True)
    untouched = {name: mean_over_prompts(found.untouched[name]) for name in wanted}
    assert untouched == pytest.approx(
        {"removal": 0, "clean_removal": 0, "ssim": 1, "control_kept": 1, "other_kept": 1, "no_invented": 1,
         "psnr": 100, "change_outside": 0, "lpips": NAN, "goal": NAN}, nan_ok=True)  # fmt: skip


def test_figures_against_loops_over_rows(made):
    """Another way to the same means: every row of the file, one by one."""
    sweep, rows = read_sweep(made), read_rows(made)
    chosen = [(cell, one) for cell, each in rows.items() if cell.technique == "rival" for one in each]

    def mean(strength, kinds, value, tasks=("banana", "apple")):
        prompts = {}
        for cell, one in chosen:
            place = (cell.split, cell.strength) == ("heldout", strength) and cell.task in tasks and cell.kind in kinds
            if place and not math.isnan(found := value(one)):
                prompts.setdefault((cell.task, cell.kind, one["index"]), []).append(found)
        return sum(sum(each) / len(each) for each in prompts.values()) / len(prompts)

    loops = {
        "removal": (("source", "mixed"), lambda r: 1 - r["concept_steered"] if r["concept_unsteered"] else NAN),
        "clean_removal": (
            ("source", "mixed"),
            lambda r: float(not r["concept_steered"] and not r["invented"]) if r["concept_unsteered"] else NAN,
        ),
        "ssim": (("control",), lambda r: r["ssim"]),
        "control_kept": (("control",), lambda r: r["objects_kept"]),
        "other_kept": (("mixed",), lambda r: r["objects_kept"]),
        "no_invented": (("source", "mixed"), lambda r: 1 - r["invented"]),
        "goal": (("source", "mixed"), lambda r: r["goal_steered"]),
        "sharpness_inside": (("source", "mixed"), lambda r: r["sharpness_inside"]),
    }
    pooled = reached(sweep, ["banana", "apple"], "rival", "heldout")
    assert pooled.strengths == dict.fromkeys(TASKS, (1.0, 1.5, 2.0, 3.0, 4.0))
    for place, strength in enumerate(pooled.strengths["apple"]):
        for name, (kinds, value) in loops.items():
            assert pooled.means(name)[place] == pytest.approx(mean(strength, kinds, value)), name
    # Each task at a strength of its own.
    mixed = pooled.at([0, 4])
    expected = [mean(1.0, ("control",), lambda r: r["ssim"], ["banana"]),
                mean(4.0, ("control",), lambda r: r["ssim"], ["apple"])]  # fmt: skip
    assert mean_over_prompts(mixed["ssim"]) == pytest.approx(np.mean(expected))
    one = at_strengths(sweep, "apple", "rival", [2.0])
    assert one.means("removal")[0] == pytest.approx(mean(2.0, *loops["removal"], tasks=["apple"]))


def test_every_figure_says_what_it_is_and_nothing_steered_is_untouched(made):
    """At λ = 0 a row has its twin's values on both sides; each figure's value is then its untouched one."""
    columns = next(iter(read_sweep(made).cells.values()))
    twin = {
        **columns,
        "concept_steered": columns["concept_unsteered"],
        "goal_steered": columns["goal_unsteered"],
        "objects_kept": np.where(np.isnan(columns["objects_kept"]), NAN, 1.0),
        "change_inside": np.where(np.isnan(columns["change_inside"]), NAN, 0.0),
        "change_outside": np.zeros_like(columns["ssim"]),
        "sharpness_inside": np.where(np.isnan(columns["sharpness_inside"]), NAN, 1.0),
        **dict.fromkeys(("ssim", "sharpness_outside", "clip_twin"), np.ones_like(columns["ssim"])),
        **dict.fromkeys(("invented", "lpips"), np.zeros_like(columns["ssim"])),
        "psnr": np.full_like(columns["ssim"], math.inf),
        **dict.fromkeys(("clip_concept", "clip_concept_unsteered"), np.full_like(columns["ssim"], 20.0)),
        **dict.fromkeys(("clip_prompt", "clip_prompt_unsteered"), np.full_like(columns["ssim"], 21.0)),
        **dict.fromkeys(("clip_shows", "clip_shows_unsteered"), columns["concept_unsteered"]),
    }
    for name, figure in FIGURES.items():
        assert set(figure.needs) <= set(twin), name
        assert figure.value(twin) == pytest.approx(figure.untouched(twin), nan_ok=True), name
        assert figure.heading
        assert figure.meaning.endswith(".")


def test_every_figure_is_of_columns_that_pictures_get():
    clip = clip_judge("orchard")
    texts = "a photo of a banana", ("a photo of an apple",)
    judge = Judge(detector_judge("orchard"), clip, *texts, ("banana",), "apple", clip.feature_maps)
    picture = Image.new("RGB", (64, 64), "white")
    columns = judge_pictures(judge, [picture], [picture], [Prompt("a banana", ("banana",))])[0]
    assert {column for figure in FIGURES.values() for column in figure.needs} <= set(columns)


def test_a_folder_tells_what_is_missing(copied):
    sweep = read_sweep(copied)
    assert sweep.missing() == []
    assert sweep.gated("patch")
    assert not sweep.gated("vanilla")
    assert not sweep.gated("rival")
    path = copied / "rows" / "apple" / "rival.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    (copied / "rows" / "apple" / "told.jsonl").unlink()
    (copied / "units" / "apple" / "told" / "unit.json").unlink()
    (copied / "units" / "banana" / "told" / "unit.json").unlink()
    again = read_sweep(copied)
    assert again.missing() == [
        "told on banana: 60 cells are whole; the others are still to be drawn.",
        "rival on apple: 2 of 60 cells are not whole.",
        "told on apple: not begun.",
    ]
    assert not again.finished("apple", "rival")
    assert again.finished("banana", "rival")
    assert again.whole("apple", "rival", "heldout", 1.0)
    assert not again.whole("apple", "rival", "heldout", 4.0)


def test_a_cell_with_fewer_pictures_is_not_whole(copied):
    path = copied / "rows" / "apple" / "rival.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    last = json.loads(lines[-1])
    last["rows"] = {name: values[:3] for name, values in last["rows"].items()}
    path.write_text("".join([*lines[:-1], json.dumps(last) + "\n"]))
    sweep = read_sweep(copied)
    assert sweep.missing() == ["rival on apple: 1 of 60 cells are not whole."]
    assert len(sweep.begun) == 1


def test_what_is_no_sweep_or_damaged_is_told_in_one_paragraph(copied, tmp_path):
    def refused(match):
        with pytest.raises(InputError, match=match) as found:
            read_sweep(copied)
        assert "\n" not in str(found.value)

    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no sweep\.json, so it is no folder of a sweep"):
        read_sweep(tmp_path / "none")
    manifest = (copied / "sweep.json").read_text()
    (copied / "sweep.json").write_text(json.dumps({"format": 2, "library_version": "9.9"}))
    refused(r"has the format 2; this version reads 1\. Use the version of dsas-diffusion that wrote it \(9\.9\)")
    (copied / "sweep.json").write_text("[]")
    refused("must hold a JSON object, but holds list")
    (copied / "sweep.json").write_text(manifest[:-4])
    refused("is not valid JSON")
    (copied / "sweep.json").write_text(manifest)
    unit = copied / "units" / "apple" / "rival" / "unit.json"
    kept = unit.read_text()
    unit.write_text('{"strengths": []}')
    refused(r"names no strengths, but \[\]")
    unit.write_text(kept)
    path = copied / "rows" / "apple" / "rival.jsonl"
    rows = path.read_text()
    path.write_text(rows.replace('"kind":"mixed"', '"kind":"mixt"'))
    refused(r"a cell that plan\.yaml has no place for: tuning, mixt, seed 0")
    path.write_text(re.sub(r'"index":\[0(\.0)?,1(\.0)?,', '"index":[0,0,', rows))
    refused("picture 0 twice or without a prompt, at tuning, source, seed 0, λ = 1")
    path.write_text("nonsense\n")
    refused("is no batch of a sweep")
    path.write_text(rows)
    shutil.copy(path, copied / "rows" / "apple" / "unplanned.jsonl")
    refused(r"a cell that plan\.yaml has no place for")
    (copied / "rows" / "apple" / "unplanned.jsonl").unlink()
    (copied / "plan.yaml").unlink()
    refused(r"holds no plan\.yaml")


def test_cases_are_cells_of_their_own(tmp_path):
    cases = write_cases(tmp_path / "cases.jsonl")
    tasks = {"hard": {"concepts": ["orchard/banana"], "cases": cases}}
    write_sweep(tmp_path / "s", tasks=tasks, drawn=False)
    sweep = read_sweep(tmp_path / "s")
    assert list(sweep.prompts["hard"]["heldout"]) == ["look-alikes", "misspelt"]
    assert list(sweep.prompts["hard"]["tuning"]) == ["source", "control", "mixed"]
    assert sweep.missing() == []
