"""The sweep at a small size: taken up where it stopped, one grid for both arms, figures checked by hand."""

import dataclasses
import functools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from dsas_diffusion import Steerer, load_prompts, orchard
from dsas_diffusion.backends.diffusion import generate
from dsas_diffusion.claims import claim
from dsas_diffusion.cli import main
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.images import as_tensor
from dsas_diffusion.evaluation.presence import present
from dsas_diffusion.evaluation.ssim import ssim
from dsas_diffusion.methods.base import METHODS
from dsas_diffusion.sweep import MANIFEST
from dsas_diffusion.sweep_cells import ARMS, SUITES, Cell, Runner, Suite, cells_in
from dsas_diffusion.sweep_figures import Point, compared, due, point, points_of

SMALL = Suite(3, (1.0,), 4.0, {"num_inference_steps": 2, "guidance_scale": 7.5})
FILES = ["cells", "report.json", "report.md", "steerers", "sweep.json", "twins"]


@pytest.fixture(autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "small", SMALL)
        yield


class Calls:
    """Counts the pictures of every pipeline call, and stops like Ctrl-C before one of them."""

    def __init__(self, patch) -> None:
        self.drawn: list[int] = []
        self.stop_at: int | None = None
        draw = StableDiffusionPipeline.__call__

        @functools.wraps(draw)
        def counted(pipe, prompt, **settings):
            if len(self.drawn) == self.stop_at:
                raise KeyboardInterrupt
            self.drawn.append(len(prompt))
            return draw(pipe, prompt, **settings)

        patch.setattr(StableDiffusionPipeline, "__call__", counted)

    def run(self, out: Path, *options: str, stop_at: int | None = None) -> tuple[int, list[int]]:
        """Run the command; its status, and how many pictures each call drew."""
        self.drawn, self.stop_at = [], stop_at
        line = ["sweep", "--suite", "small", "--methods", "caa", "--seeds", "1", "--device", "cpu", "--out", str(out)]
        return main([*line, *options]), self.drawn


@pytest.fixture
def calls(monkeypatch):
    return Calls(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that nobody stopped: its folder, and the pictures of each call."""
    out = tmp_path_factory.mktemp("sweep") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SUITES, "small", SMALL)
        status, drawn = Calls(patch).run(out, "--report", str(out.parent / "page.md"))
    assert status == 0
    return out, drawn


def written(out: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file() and "steerers" not in p.parts
    }


def test_whole_sweep_leaves_its_files_and_nothing_else(whole):
    out, _ = whole
    assert sorted(p.name for p in out.iterdir()) == FILES
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]
    assert (out.parent / "page.md").read_bytes() == (out / "report.md").read_bytes()
    assert [p.name for p in (out / "steerers").iterdir()] == ["caa-0"]


def test_both_arms_have_one_grid_and_it_ends_by_the_rule(whole):
    out, drawn = whole
    cells = cells_in(out)
    grids = [sorted(cell.strength for cell in cells if cell.arm == arm) for arm in ARMS]
    assert grids[0] == grids[1]
    assert grids[0] == [1.0, 2.0, 4.0][: len(grids[0])]
    fit = sum(len(load_prompts("orchard/banana").texts(group)) for group in ("source", "target", "control"))
    assert sum(drawn) == fit + 9 + 9 * len(cells)
    points = points_of(cells, "caa", 1)
    for count in range(1, len(grids[0]) + 1):
        upto = {arm: {s: points[arm][s] for s in grids[0][:count]} for arm in ARMS}
        ended = all(any(p.removal >= 0.99 or p.control_kept < 0.5 for p in upto[arm].values()) for arm in ARMS)
        assert (count == len(grids[0])) == (ended or count == 3)


def test_stopped_again_and_again_it_ends_with_the_same_figures_and_draws_nothing_twice(whole, calls, tmp_path):
    out, expected = whole
    stopped = tmp_path / "stopped"
    # Before the first call, in the fit, in the twins, in the first cell, in the second; then to the end.
    done, fit_calls = [], len(expected) - 3 - 3 * len(cells_in(out))
    drawn_by_run = []
    for stop_at in (0, 1, fit_calls + 1, 2 + 1, 3 + 1):
        status, drawn = calls.run(stopped, stop_at=stop_at)
        assert status == 130
        drawn_by_run.append(drawn)
        done.append(len(list(stopped.glob("cells/*.json"))))
        assert not list(stopped.rglob("*.tmp"))
    assert done == [0, 0, 0, 0, 1]
    status, drawn = calls.run(stopped)
    assert status == 0
    drawn_by_run.append(drawn)
    # The third run finishes the fit and one kind of twins, the fourth the other two, the fifth the first cell.
    assert drawn_by_run[3] == [3] * 3
    assert drawn_by_run[4] == [3] * 4
    assert drawn == [3] * 3 * (len(cells_in(out)) - 1)
    assert written(stopped) == written(out)
    assert calls.run(stopped) == (0, [])
    assert written(stopped) == written(out)


def test_a_lost_cell_is_drawn_again_and_alone(whole, calls, tmp_path):
    out, _ = whole
    again = tmp_path / "again"
    shutil.copytree(out, again)
    (again / "cells" / "caa-ungated-1-0.json").unlink()
    assert calls.run(again) == (0, [3, 3, 3])
    assert written(again) == written(out)


def test_rows_are_what_the_saved_steerer_draws(whole):
    """Each figure of a cell, by hand: pictures from the seeds that it names, judged one by one."""
    out, _ = whole
    pipe, detector = orchard.load_pipeline("unet"), orchard.load_detector()
    prompts = load_prompts("orchard/banana")
    steerer = Steerer.from_pretrained(out / "steerers" / "caa-0")
    for arm, one in (("gated", steerer), ("ungated", steerer.ungated())):
        rows = cells_in(out)[Cell("caa", arm, 1.0, 0)]
        assert [(row["kind"], row["index"]) for row in rows] == [
            (kind, index) for kind in ("source", "control", "mixed") for index in range(3)
        ]
        for kind in ("source", "control", "mixed"):
            own = [row for row in rows if row["kind"] == kind]
            texts, seeds = [p.text for p in prompts.heldout[kind][:3]], [row["seed"] for row in own]
            [plain] = generate(pipe, texts, seeds, generation=SMALL.generation)
            with one.attached(pipe, 1.0):
                [steered] = generate(pipe, texts, seeds, generation=SMALL.generation)
            before, after = detector(plain).probabilities, detector(steered).probabilities
            assert [row["concept_unsteered"] for row in own] == present(before, "banana").tolist()
            assert [row["concept_steered"] for row in own] == present(after, "banana").tolist()
            assert [row["ssim"] for row in own] == pytest.approx(ssim(as_tensor(steered), as_tensor(plain)).tolist())
            for index, row in enumerate(own):
                asked = set(prompts.heldout[kind][index].labels)
                there = [{n for n in found if found[n][index] > 0.5} for found in (before, after)]
                assert row["invented"] == bool(there[1] - there[0] - asked)
                others = (asked & there[0]) - {"banana"}
                kept = len(others & there[1]) / len(others) if others else math.nan
                assert row["objects_kept"] == pytest.approx(kept, nan_ok=True)


def test_at_zero_every_picture_is_its_twin(whole, tmp_path):
    out, _ = whole
    pipe, detector = orchard.load_pipeline("unet"), orchard.load_detector()
    runner = Runner(pipe, detector, load_prompts("orchard/banana"), "patch", SMALL, tmp_path)
    steerer = Steerer.from_pretrained(out / "steerers" / "caa-0")
    for arm in ARMS:
        rows = runner.run(Cell("caa", arm, 0.0, 0), steerer)
        assert [row["psnr"] for row in rows] == [100.0] * 9
        assert [row["ssim"] for row in rows] == [1.0] * 9
        assert [row["concept_steered"] for row in rows] == [row["concept_unsteered"] for row in rows]
        assert not any(row["invented"] for row in rows)
    assert list(runner.run(Cell("caa", "ungated", 1.0, 0), steerer)) == cells_in(out)[Cell("caa", "ungated", 1.0, 0)]


def test_report_says_how_it_was_made_and_holds_each_figure(whole):
    out, _ = whole
    page = (out / "report.md").read_text(encoding="utf-8")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    first = page.splitlines()[2]
    line = "dsas sweep --suite small --concept banana --gate patch --seeds 1 --methods '[\"caa\"]'"
    assert first.startswith(f"`OMP_NUM_THREADS={torch.get_num_threads()} {line}`, 20")
    assert re.search(r"\d{4}-\d\d-\d\d, \d+ cores\.$", first)
    assert str(out.parent) not in page + json.dumps(report)
    found = report["methods"]["caa"]
    assert found["finished"]
    assert list(found["planes"]) == ["ssim", "other_kept"]
    for plane in found["planes"].values():
        shown = [f"{plane[arm]:.4f}" for arm in ARMS] + [f"{value:+.4f}" for value in plane["better_by"]]
        assert f"| {' | '.join(shown)} | {plane['verdict']} |" in page
    for arm in ARMS:
        points = found["arms"][arm]["points"]
        assert [row["strength"] for row in points] == [0.0, *sorted(row["strength"] for row in points[1:])]
        assert (points[0]["removal"], points[0]["ssim"]) == (0, 1)
        for row in points[1:]:
            assert f"| caa | {arm} | {row['strength']:g} | {row['removal']:.1%} | {row['ssim']:.4f} |" in page
    assert METHODS["caa"].unit_strength in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gate", "logistic"], "another sweep, with another gate: 'patch' there, 'logistic' now"),
        (["--concept", "apple"], "another sweep, with another concept: 'banana' there, 'apple' now"),
        (["--seeds", "2"], "another sweep, with another seeds: 1 there, 2 now"),
        (["--suite", "family"], "another sweep, with another suite"),
        (["--methods", "cca"], "There is no steering method 'cca'. Did you mean 'caa'?"),
        (["--methods", '["caa", "linear-act"]'], "Did you mean 'linear_act'?"),
        (["--gate", "path"], "Did you mean 'patch'?"),
        (["--gate", "always"], "gate is 'always'"),
        (["--suite", "famly"], "Did you mean 'family'?"),
        (["--concept", "melon"], "concept is 'melon'"),
        (["--seeds", "0"], "seeds is 0"),
        (["--methods", "[]"], "1 method or more"),
        (["--out", "/dev/null/sweep"], "/dev/null"),
    ],
)
def test_what_cannot_be_is_one_paragraph_and_draws_nothing(whole, calls, options, message, capsys):
    out, _ = whole
    before = written(out)
    assert calls.run(out, *options) == (2, [])
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.strip().splitlines()) == 1
    assert written(out) == before


def test_every_setting_counts_and_another_folder_is_left_alone(tmp_path):
    settings = {"gate": "patch", "generation": {"num_inference_steps": 20}, "weights": "ab"}
    claim(tmp_path / "new", settings, MANIFEST, "sweep")
    claim(tmp_path / "new", settings, MANIFEST, "sweep")
    for changed in ({"generation": {"num_inference_steps": 21}}, {"weights": "cd"}, {"more": 1}):
        with pytest.raises(InputError, match=f"another {next(iter(changed))}"):
            claim(tmp_path / "new", {**settings, **changed}, MANIFEST, "sweep")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "report.md").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'report\.md' but no sweep\.json"):
        claim(tmp_path / "thesis", settings, MANIFEST, "sweep")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["report.md"]


def test_a_damaged_cell_is_named(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "odd.json").write_text("{}")
    with pytest.raises(InputError, match=r"odd\.json is no cell of a sweep"):
        cells_in(tmp_path)


def reached(removal: float, kept: float = 1.0) -> Point:
    return Point(np.zeros(1), np.zeros(1), np.zeros(1), removal, 0.9, 30.0, kept, 1.0, 1.0, 0.0)


def drawn_until_the_end(gated: dict[float, Point], ungated: dict[float, Point]) -> list[float]:
    """The λ that a sweep draws, if each arm then has the point that stands there (the last one beyond)."""
    suite, points, order = Suite(), {arm: {} for arm in ARMS}, []
    while (strength := due(suite, points)) is not None:
        order.append(strength)
        for arm, curve in zip(ARMS, (gated, ungated), strict=True):
            points[arm][strength] = curve[max(s for s in curve if s <= strength)]
    return order


@pytest.mark.parametrize(
    ("gated", "ungated", "grid"),
    [
        ({0: reached(0.99)}, {0: reached(1.0)}, [0.5, 1, 2, 3, 4]),
        ({0: reached(0.9), 8: reached(0.99)}, {0: reached(1.0)}, [0.5, 1, 2, 3, 4, 8]),
        ({0: reached(1.0)}, {0: reached(0.9), 16: reached(0.9, 0.49)}, [0.5, 1, 2, 3, 4, 8, 16]),
        ({0: reached(1.0), 2: reached(0.9)}, {0: reached(1.0)}, [0.5, 1, 2, 3, 4]),  # once is enough
        ({0: reached(1.0)}, {0: reached(0.98, 0.5)}, [0.5, 1, 2, 3, 4, 8, 16, 32]),
        ({0: reached(1.0)}, {0: reached(0.5, math.nan)}, [0.5, 1, 2, 3, 4, 8, 16, 32]),
    ],
)
def test_grid_is_doubled_until_each_arm_is_at_its_end_or_the_cap(gated, ungated, grid):
    assert drawn_until_the_end(gated, ungated) == grid


def test_the_cap_is_named_for_the_arm_that_it_ended_and_the_verdict_is_right():
    arms = {
        arm: point([[row(kind, i, **changed) for kind in ("source", "control", "mixed") for i in range(2)]])
        for arm, changed in (("gated", {"objects_kept": 0.6}), ("ungated", {"steered": 1}))
    }
    points = {arm: dict.fromkeys((1.0, 2.0, 4.0), found) for arm, found in arms.items()}
    found = compared(SMALL, points)
    assert found["finished"]
    assert {arm: found["arms"][arm]["capped"] for arm in ARMS} == {"gated": False, "ungated": True}
    half = compared(SMALL, {arm: {1.0: one[1.0]} for arm, one in points.items()})
    assert not half["finished"]
    assert not half["arms"]["ungated"]["capped"]
    for figure, area in (("ssim", 0.8), ("other_kept", 0.6)):
        plane = found["planes"][figure]
        assert (plane["gated"], plane["ungated"]) == (pytest.approx(area), 0)
        assert plane["better_by"] == pytest.approx([area] * 3)
        assert plane["verdict"] == "ahead"
    turned = compared(SMALL, {"gated": points["ungated"], "ungated": points["gated"]})
    assert turned["planes"]["ssim"]["verdict"] == "behind"
    assert compared(SMALL, dict.fromkeys(ARMS, points["gated"]))["planes"]["ssim"]["verdict"] == "not distinguishable"


def row(kind: str, index: int, shown: float = 1, steered: float = 0, **changed: float) -> dict:
    figures = {"objects_kept": 1.0, "invented": 0.0, "ssim": 0.8, "psnr": 30.0, "change_outside": 0.1}
    return {"kind": kind, "index": index, "seed": 1, "concept_unsteered": shown, "concept_steered": steered,
            **figures, **changed}  # fmt: skip


def test_a_point_by_hand():
    """Two seeds: a prompt's value is the mean over the seeds in which its twin shows the concept."""
    seeds = [
        [
            row("source", 0), row("source", 1, shown=0), row("control", 0, shown=0, ssim=0.6, objects_kept=math.nan),
            row("control", 1, shown=0, ssim=1.0, objects_kept=0.5), row("mixed", 0, steered=1, invented=1),
        ],
        [
            row("source", 0, steered=1), row("source", 1, shown=0, steered=1), row("control", 0, ssim=0.4),
            row("control", 1, ssim=0.8), row("mixed", 0, objects_kept=0.0),
        ],
    ]  # fmt: skip
    found = point(seeds)
    assert found.removed == pytest.approx([0.5, math.nan, 0.5], nan_ok=True)
    assert found.alike == pytest.approx([0.5, 0.9])
    assert (found.removal, found.ssim) == pytest.approx((0.5, 0.7))
    assert found.control_kept == pytest.approx((1 + 0.75) / 2)
    assert found.other_kept == 0.5
    assert found.no_invented == pytest.approx((1 + 1 + 0.5) / 3)
    with pytest.raises(InputError, match="No unsteered picture"):
        point([[row("source", 0, shown=0), row("mixed", 0, shown=0)]])


def test_a_strength_counts_once_both_arms_have_it_for_every_seed():
    rows = [row("source", 0), row("control", 0), row("mixed", 0)]
    cells = dict.fromkeys((Cell("caa", arm, s, seed) for arm in ARMS for s in (2.0, 1.0) for seed in (0, 1)), rows)
    assert [list(one) for one in points_of(cells, "caa", 2).values()] == [[1.0, 2.0], [1.0, 2.0]]
    del cells[Cell("caa", "ungated", 1.0, 1)]
    assert [list(one) for one in points_of(cells, "caa", 2).values()] == [[2.0], [2.0]]
    assert due(dataclasses.replace(SMALL, strengths=(1.0, 2.0)), points_of(cells, "caa", 2)) == 1.0


@pytest.mark.full
def test_methods_of_two_runs_stand_in_one_report(whole, calls, tmp_path):
    out, _ = whole
    shared = tmp_path / "shared"
    shutil.copytree(out, shared)
    assert calls.run(shared, "--methods", "ablation")[0] == 0
    one, both = (json.loads((folder / "report.json").read_text()) for folder in (out, shared))
    assert list(both["methods"]) == ["ablation", "caa"]
    assert both["methods"]["caa"] == one["methods"]["caa"]
