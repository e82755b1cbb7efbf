"""A small sweep: taken up wherever it stopped, shared by processes, its search and its estimate checked by hand."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_sweep import PLAN

from dsas_diffusion import Steerer, load_prompts, orchard
from dsas_diffusion.backends.diffusion import generate
from dsas_diffusion.evaluation.presence import present
from dsas_diffusion.evaluation.rows import Judge, judge_pictures
from dsas_diffusion.sweeps.rows import Cell, read_rows

SPLITS = {"tuning": 3, "heldout": 5}
KINDS = ("source", "control", "mixed")


def rows_of(folder: Path) -> dict[str, bytes]:
    """The rows' files, byte for byte; each batch was written in the order of the work, whoever did it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "rows").rglob("*.jsonl"))}


def pictures_of(folder: Path) -> dict[str, bytes]:
    places = [*(folder / "twins").rglob("*.png"), *(folder / "pictures").rglob("*.png")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(places)}


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1"}


def test_every_cell_is_whole_and_every_picture_was_drawn_once(whole):
    folder, drawn = whole
    rows = read_rows(folder)
    assert {len(found) for cell, found in rows.items() if cell.split == "tuning"} == {3}
    assert {len(found) for cell, found in rows.items() if cell.split == "heldout"} == {5}
    assert {cell.kind for cell in rows} == set(KINDS)
    prompts = dict.fromkeys(("source", "target", "control"), 6)
    fits = 2 * sum(prompts.values())
    timed = 3  # one batch, before the start
    mapped = 5  # mixed pictures at λ = 0, for the gate's maps
    assert sum(drawn) == sum(map(len, rows.values())) + 3 * sum(SPLITS.values()) + fits + timed + mapped


def test_the_search_ends_by_its_rule_and_the_judged_strengths_lie_around_its_centre(whole):
    folder, _ = whole
    rows = read_rows(folder)
    for technique in ("gated", "vanilla"):
        about = json.loads((folder / "units" / "banana" / technique / "unit.json").read_text())
        reached = {}
        for strength in (1.0, 2.0, 4.0):
            cells = {kind: Cell("banana", technique, "tuning", kind, 0, strength) for kind in KINDS}
            if cells["source"] not in rows:
                break
            asked = [row for kind in ("source", "mixed") for row in rows[cells[kind]] if row["concept_unsteered"]]
            gone = 1 - sum(row["concept_steered"] for row in asked) / len(asked)
            kept = [row["objects_kept"] for row in rows[cells["control"]] if not math.isnan(row["objects_kept"])]
            reached[strength] = gone
            if gone >= 0.99 or sum(kept) / len(kept) < 0.5:
                break
        enough = [strength for strength, gone in reached.items() if gone >= 0.9]
        assert about["centre"] == (enough[0] if enough else max(reached, key=reached.get))
        judged = {cell.strength for cell in rows if cell.technique == technique and cell.split == "heldout"}
        assert judged == {0.5 * about["centre"], about["centre"]} == set(about["strengths"])


def test_a_row_is_what_the_judge_says_of_the_picture_that_the_saved_steerer_draws(whole):
    folder, _ = whole
    pipe, prompts = orchard.load_pipeline("unet"), load_prompts("orchard/banana")
    about = json.loads((folder / "units" / "banana" / "gated" / "unit.json").read_text())
    strength = about["strengths"][1]
    row = read_rows(folder)[Cell("banana", "gated", "heldout", "mixed", 0, strength)][0]
    steerer = Steerer.from_pretrained(folder / "learned" / "banana" / "gated" / "0" / "0-banana")
    asked = prompts.heldout["mixed"][:3]
    seeds = [int(row["seed"]) + number for number in range(3)]
    settings = {"num_inference_steps": 2, "guidance_scale": 7.5}
    with steerer.attached(pipe, strength):
        images = next(generate(pipe, [p.text for p in asked], seeds, generation=settings))
    twins = next(generate(pipe, [p.text for p in asked], seeds, generation=settings))
    kept = folder / "pictures" / "banana" / "gated" / f"{strength:g}" / "0" / "mixed" / "000.png"
    assert Image.open(kept).tobytes() == images[0].tobytes()
    assert Image.open(folder / "twins/banana/heldout/0/mixed/000.png").tobytes() == twins[0].tobytes()
    detector = orchard.load_detector()
    assert row["concept_steered"] == float(present(detector(images).probabilities, "banana")[0])
    told = judge_pictures(Judge(detector, concept="a photo of a banana", labels=("banana",)), images, twins, asked)[0]
    for name, value in told.items():
        assert row[name] == pytest.approx(min(value, 100.0), rel=1e-5, nan_ok=True)


@pytest.mark.full
def test_stopped_again_and_again_it_ends_with_the_same_table_and_draws_nothing_twice(whole, calls, plan, tmp_path):
    folder, drawn = whole
    total, out = sum(drawn), tmp_path / "stopped"
    every = []
    for stop_at in (0, 2, 7, 9, 4, 11, 3):
        status, some = calls.sweep(plan, out, stop_at=stop_at)
        assert status == 130
        every.append(some)
        assert not list(out.rglob("*.tmp"))
    status, some = calls.sweep(plan, out)
    assert status == 0
    every.append(some)
    assert rows_of(out) == rows_of(folder)
    assert pictures_of(out) == pictures_of(folder)
    # Each run times one batch of three first. What a fit that was stopped had drawn is drawn again, nothing else is.
    again = sum(map(sum, every)) - 3 * sum(bool(run) for run in every) - (total - 3)
    assert 0 <= again <= 6 * 5 * 2


def test_a_finished_sweep_draws_nothing_but_the_timed_batch(whole, calls, plan):
    folder, _ = whole
    before = rows_of(folder)
    status, drawn = calls.sweep(plan, folder)
    assert (status, drawn) == (0, [3])
    assert rows_of(folder) == before


def test_what_was_learned_is_not_missed_where_all_is_drawn(whole, calls, plan, tmp_path):
    folder, _ = whole
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "learned")
    units = {path: path.read_bytes() for path in copy.glob("units/*/*/unit.json")}
    assert calls.sweep(plan, copy) == (0, [3])
    assert units
    assert {path: path.read_bytes() for path in units} == units
    assert not (copy / "learned").exists()


@pytest.mark.full
def test_killed_at_ten_random_moments_it_ends_with_the_same_table(whole, plan, tmp_path):
    folder, _ = whole
    out, choice = tmp_path / "killed", random.Random(0)
    line = [sys.executable, "-m", "dsas_diffusion.cli", "sweep", "--plan", plan, "--out", out, "--device", "cpu"]
    killed = 0
    while killed < 10:
        process = subprocess.Popen(line, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        began = (out / "sweep.json").exists()
        while process.poll() is None and not ((out / "sweep.json").exists() if not began else time.sleep(3) is None):
            time.sleep(0.05)
        time.sleep(choice.uniform(0, 3))
        if process.poll() is not None:
            break  # it was finished before ten moments were over
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += 1
    done = subprocess.run(line, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert killed >= 3
    assert rows_of(out) == rows_of(folder)
    assert pictures_of(out) == pictures_of(folder)


@pytest.mark.full
def test_two_processes_give_the_same_table_as_one(whole, plan, tmp_path):
    folder, _ = whole
    out = tmp_path / "two"
    line = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dsas_diffusion.cli", "sweep"]
    done = subprocess.run(
        [sys.executable, *line, "--plan", plan, "--out", out, "--device", "cpu"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text())["processes"] == 2
    assert rows_of(out) == rows_of(folder)
    assert pictures_of(out) == pictures_of(folder)


def test_a_concept_that_is_never_drawn_is_told_in_the_first_search(calls, tmp_path, capsys):
    plan = tmp_path / "none.yaml"
    plan.write_text(PLAN.replace("[orchard/banana]}", "[orchard/banana], labels: [strawberry]}"))
    status, _ = calls.sweep(plan, tmp_path / "out")
    assert status != 0
    assert "No unsteered tuning picture of the task 'banana' shows the concept" in capsys.readouterr().err


def test_what_can_not_be_learned_is_told_in_the_end_and_drawn_once_it_is_mended(calls, plan, tmp_path, capsys):
    mended, out = tmp_path / "mended.yaml", tmp_path / "out"
    unfit = "gated: {settings: {method: caa, gate: image_mean, prompts: 6, swapped: 0.5}}"
    mended.write_text(PLAN.replace("gated: {settings: {method: caa, gate: image_mean, prompts: 6}}", unfit))
    status, _ = calls.sweep(mended, out)
    assert status != 0
    assert "but not 'gated' on 'banana': No site tells the source prompts" in capsys.readouterr().err
    assert json.loads((out / "units" / "banana" / "vanilla" / "unit.json").read_text())["strengths"]
    assert (out / "report.html").is_file()
    status, drawn = calls.sweep(plan, out)
    assert (status, sum(drawn) > 0) == (0, True)


def test_a_dry_run_says_what_is_left_and_draws_one_batch(calls, plan, tmp_path, capsys):
    status, drawn = calls.sweep(plan, tmp_path / "new", "--dry_run")
    said = capsys.readouterr().out
    # Of each technique: a search over 1, 2, 4 on nine tuning pictures, then two strengths on 9 + 15 pictures.
    assert (status, drawn) == (0, [3])
    assert said.startswith(f"At most {2 * (3 * 9 + 2 * 24)} pictures and 24 unsteered twins are to be drawn")
    assert "beside 2 fits" in said


@pytest.mark.full
def test_another_plan_can_not_use_the_folder_but_one_with_a_technique_more_can(whole, calls, plan, tmp_path, capsys):
    folder, _ = whole
    other = tmp_path / "other.yaml"
    other.write_text(plan.read_text().replace("guidance_scale: 7.5", "guidance_scale: 5.0"))
    assert calls.sweep(other, folder)[0] == 2
    assert "another plan" in " ".join(capsys.readouterr().err.split())
    other.write_text(plan.read_text().replace("gate: image_mean, prompts: 6", "gate: image_mean, prompts: 8"))
    assert calls.sweep(other, folder)[0] == 2
    assert "with other settings than the plan has now" in capsys.readouterr().err
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    other.write_text(
        plan.read_text().replace("techniques:\n", "techniques:\n  third: {settings: {gate: always, prompts: 6}}\n")
    )
    assert calls.sweep(other, copy)[0] == 0
    assert rows_of(folder).items() <= rows_of(copy).items()


def test_a_damaged_line_is_named_and_a_line_cut_short_is_drawn_again(whole, calls, plan, tmp_path, capsys):
    folder, _ = whole
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "rows" / "banana" / "gated.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    assert calls.sweep(plan, copy)[0] == 0
    assert rows_of(copy) == rows_of(folder)
    lines = content.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b'{"split": "tuning"}\n', *lines[3:]]))
    assert calls.sweep(plan, copy)[0] == 2
    said = capsys.readouterr().err
    assert "gated.jsonl, line 3, is no batch of a sweep" in said
    assert "Remove that line" in said


def test_a_disk_that_is_too_small_is_refused_before_anything_is_drawn(calls, plan, tmp_path, monkeypatch, capsys):
    import dsas_diffusion.sweeps.estimate as estimating

    monkeypatch.setattr(estimating.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    status, drawn = calls.sweep(plan, tmp_path / "full")
    assert (status, drawn) == (2, [3])
    assert "MB left" in capsys.readouterr().err


@pytest.mark.full
def test_a_disk_that_fills_up_leaves_whole_lines_only(whole, calls, plan, tmp_path, capsys):
    folder, _ = whole
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "rows" / "banana" / "vanilla.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]))
    limit = len(b"".join(lines[:-3])) + len(lines[-3]) + 10  # a file that may not grow past the middle of a line
    line = [sys.executable, "-m", "dsas_diffusion.cli", "sweep", "--plan", plan, "--out", copy, "--device", "cpu"]
    limited = f"import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); sys.argv = {[str(word) for word in line[2:]]!r}; runpy.run_module('dsas_diffusion.cli', run_name='__main__')"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", limited], env=environment(), capture_output=True, text=True)
    assert done.returncode != 0
    assert path.read_bytes() == b"".join(lines[:-2]), done.stderr
    assert calls.sweep(plan, copy)[0] == 0
    assert rows_of(copy) == rows_of(folder)
