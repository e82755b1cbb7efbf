"""The report of a sweep: the same figures on the page, in the text and in the file; what is unfinished is said."""

import csv
import json
import math
import re
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from made_sweep import TASKS, TECHNIQUES, write_cases, write_sweep
from PIL import Image

from dsas_diffusion.cli import main
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.pareto import hypervolume
from dsas_diffusion.sweeps.blocks import interval, number
from dsas_diffusion.sweeps.export import export_rows
from dsas_diffusion.sweeps.findings import findings
from dsas_diffusion.sweeps.folder import read_sweep
from dsas_diffusion.sweeps.fronts import tuned_hypervolume
from dsas_diffusion.sweeps.plots import Line, front_plot, standalone
from dsas_diffusion.sweeps.reached import reached
from dsas_diffusion.sweeps.report import write_report
from dsas_diffusion.sweeps.report_page import page
from dsas_diffusion.sweeps.report_parts import parts
from dsas_diffusion.sweeps.report_text import markdown
from dsas_diffusion.sweeps.rows import read_rows

TITLES = {name: about.get("title", name) for name, about in TECHNIQUES.items()}
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Keeps what a page loads, its tables, its anchors, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.loads += [value for name, value in attrs if name in ("src", "srcset", "data", "poster", "xlink:href")]
        (self.links if tag == "a" else self.loads).extend([given["href"]] if "href" in given else [])
        self.ids += [given["id"]] if "id" in given else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            small = self.open[-1] == "small"
            self.tables[-1][-1][-1] += f" ({data})" if small else data


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A sweep with hard cases and pictures, its report, and what it found."""
    top = tmp_path_factory.mktemp("told")
    cases = write_cases(top / "cases.jsonl")
    hard = {"concepts": ["orchard/banana"], "cases": cases}
    write_sweep(top / "sweep", {"rival": 2.0}, tasks={**TASKS, "hard": hard})
    found = write_report(top / "sweep", top / "report", resamples=300)
    return top, found


@pytest.fixture
def copied(told, tmp_path):
    shutil.copytree(told[0] / "sweep", tmp_path / "sweep")
    return tmp_path / "sweep"


def markdown_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    for before, line in zip(["", *text.splitlines()], text.splitlines(), strict=False):
        if line.startswith("| "):
            if not before.startswith("| "):
                tables.append([])
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if not set(line) <= set("| -:"):
                tables[-1].append([re.sub(r"[`*]", "", cell).strip() for cell in cells])
    return tables


def test_page_needs_nothing_else_and_is_well_formed(told):
    content = (told[0] / "report" / "report.html").read_text(encoding="utf-8")
    parsed = Page(content)
    assert parsed.open == []
    assert parsed.loads
    assert all(one.startswith("data:image/png;base64,") for one in parsed.loads)
    assert all(link.startswith("#") for link in parsed.links)
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert not re.search(r"<script|<link|@import|url\(|javascript:", content)
    assert set(re.findall(r"https?://[^\"' <]*", content)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    text = " ".join(parsed.text)
    for name in (*TITLES.values(), *TASKS, "hard", "look-alikes", "misspelt", "a made-up sweep".capitalize()):
        assert name in text
    assert "prefers-color-scheme: dark" in content
    assert 'name="viewport"' in content
    assert str(told[0]) not in content


def test_page_and_text_have_the_same_tables(told):
    shown = Page((told[0] / "report" / "report.html").read_text(encoding="utf-8"))
    text = (told[0] / "report" / "report.md").read_text(encoding="utf-8")
    on_page = [table for table in shown.tables if table[0][0]]  # sheets of pictures begin with an empty corner
    in_text = markdown_tables(text)
    assert len(on_page) == len(in_text) > 10
    for one, other in zip(on_page, in_text, strict=True):
        assert [[re.sub(r"[`*]", "", cell).strip() for cell in row] for row in one] == other


def test_text_links_files_that_are_there_and_are_drawn(told):
    folder = told[0] / "report"
    text = (folder / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"!\[.+?\]\((.+?)\)", text)
    assert len(links) == len(set(links))
    assert sorted(links) == sorted(f"report_files/{path.name}" for path in (folder / "report_files").iterdir())
    for link in links:
        if link.endswith(".svg"):
            root = ElementTree.parse(folder / link).getroot()
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
        else:
            with Image.open(folder / link) as image:
                assert min(image.size) > 16
    for title in TITLES.values():
        assert title in text
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md", "report_files"]


def test_file_holds_the_figures_that_the_page_shows(told):
    top, _ = told
    kept = json.loads((top / "report" / "report.json").read_text(encoding="utf-8"))
    assert [scope["name"] for scope in kept["scopes"]] == ["banana, apple together", "banana", "apple"]
    assert [scope["headline"] for scope in kept["scopes"]] == [True, False, False]
    text = (top / "report" / "report.md").read_text(encoding="utf-8")
    for scope in kept["scopes"]:
        assert scope["waiting"] == []
        assert list(scope["fronts"]) == ["ssim", "other_kept"]
        for front in scope["fronts"]["ssim"].values():
            points = [(point["removal"], point["preservation"]) for point in front["points"]]
            assert points[0] == (0, 1)
            assert front["hypervolume"][0] == pytest.approx(hypervolume(points))
            assert interval(front["hypervolume"], ".4f") in text
        for pair in (*scope["comparisons"], *scope["gates"]):
            low, high = pair["difference"][1:]
            assert pair["verdict"] == ("ahead" if low > 0 else "behind" if high < 0 else "not distinguishable")
            assert pair["difference"][0] == pytest.approx(np.subtract(*pair["hypervolumes"]))
            assert interval(pair["difference"], "+.4f") in text
        assert [pair["second"] for pair in scope["comparisons"]] == ["vanilla", "rival", "told"] * 2
        assert [(pair["first"], pair["second"]) for pair in scope["gates"]] == [("patch", "vanilla")] * 2
        for points in scope["operating"].values():
            for point in points.values():
                assert interval(point["figures"]["ssim"], ".4f") in text
    assert set(kept["grid"]) == {"banana", "apple"}
    for rows in kept["grid"].values():
        for name, each in rows.items():
            centre = 2.0 if name == "rival" else 1.0
            assert [row["strength"] for row in each] == [0, *(centre * factor for factor in (0.5, 0.75, 1, 1.5, 2))]
            assert each[0]["removal"] == 0
            assert each[0]["ssim"] == 1
            assert each[0]["goal"] == rows["patch"][0]["goal"] < each[-1]["goal"]  # what the twins show by themselves


def test_choice_is_of_tuning_prompts_alone(told):
    """Held-out rows made perfect for every technique: what is chosen stays, figures don't."""
    top, found = told
    sweep = read_sweep(top / "sweep")
    tasks = ["banana", "apple"]
    tuned = {name: tuned_hypervolume(reached(sweep, tasks, name, "tuning")) for name in TECHNIQUES}
    pooled = found["scopes"][0]
    assert pooled["tuned"] == pytest.approx(tuned)
    assert pooled["best"] == "patch"
    perfect = {"concept_steered": 0.0, "ssim": 1.0, "objects_kept": 1.0, "invented": 0.0}

    def made_perfect(columns):
        return {**columns, **{name: np.full_like(columns[name], value) for name, value in perfect.items()}}

    cells = {
        cell: columns if cell.split == "tuning" else made_perfect(columns) for cell, columns in sweep.cells.items()
    }
    changed = findings(type(sweep)(**{**vars(sweep), "cells": cells}), resamples=20)["scopes"][0]
    assert changed["best"] == pooled["best"]
    for letter in "AB":
        for name in TECHNIQUES:
            before, after = (scope["operating"][letter][name] for scope in (pooled, changed))
            assert (after["strengths"], after["met"]) == (before["strengths"], before["met"])
            assert after["figures"]["removal"] == [1, 1, 1]


def test_a_concept_that_no_picture_shows_is_said(told):
    """Nothing removed can be told then: no front, no choice, and a report all the same."""
    sweep = read_sweep(told[0] / "sweep")
    for splits in (("tuning",), ("tuning", "heldout")):
        cells = {
            cell: {**columns, "concept_unsteered": np.zeros_like(columns["ssim"])} if cell.split in splits else columns
            for cell, columns in sweep.cells.items()
        }
        blind = type(sweep)(**{**vars(sweep), "cells": cells})
        found = findings(blind, resamples=20)
        pooled = found["scopes"][0]
        assert pooled["best"] is None
        assert pooled["operating"]["B"] == dict.fromkeys(TECHNIQUES)
        assert bool(pooled["fronts"]) == (splits == ("tuning",))
        text = markdown("Blind", parts(blind, found), "blind_files")
        assert "Nothing is compared on banana, apple together: removal was not measured on its tuning prompts." in text
        assert ("Removal or control SSIM was not measured here" in text) == (not pooled["fronts"])
        assert page("Blind", parts(blind, found))


def test_oracles_stand_apart(told):
    text = (told[0] / "report" / "report.md").read_text(encoding="utf-8")
    head = text.partition("## What was compared")[0]
    main, _, apart = head.partition("Apart, outside the claim")
    assert "| goal shown |" in main
    assert "sharpness" not in main
    assert "| told |" not in main
    assert "| told |" in apart
    assert "of 2 compared: ahead of 2, behind none" in main
    assert "| told (apart) |" in text


def test_hard_cases_against_loops(told):
    top, found = told
    rows = read_rows(top / "sweep")
    assert len(found["limits"]) == 2 * len(TECHNIQUES)
    for told_row in found["limits"]:
        own = [
            row
            for cell, each in rows.items()
            if (cell.task, cell.technique, cell.split, cell.kind, cell.strength)
            == ("hard", told_row["technique"], "heldout", told_row["case"], told_row["strength"])
            for row in each
        ]
        assert len(own) == 2 * 2
        shown = [row for row in own if row["concept_unsteered"]]
        assert told_row["shown"] == pytest.approx(len(shown) / len(own))
        if not shown:
            assert told_row["figures"]["left"] is None
        by_prompt = [np.mean([row["ssim"] for row in own if row["index"] == index]) for index in (0, 1)]
        assert told_row["figures"]["ssim"][0] == pytest.approx(np.mean(by_prompt))
        # Of two prompts a resample has either twice, or both.
        assert told_row["figures"]["ssim"][1:] == pytest.approx(sorted(by_prompt))


def test_pictures_are_those_of_the_chosen_strength(told):
    top, found = told
    content = (top / "report" / "report.html").read_text(encoding="utf-8")
    alone = found["scopes"][1]
    for name in TECHNIQUES:
        strength = alone["operating"]["B"][name]["strengths"]["banana"]
        assert f'<th scope="row">{TITLES[name]}, λ = {strength:g}</th>' in content
    rows = re.findall(r'<tr><th scope="row">([^<]+)</th>(?:<td><img)', content)
    assert [row for row in rows if row == "unsteered"] == ["unsteered"] * 5  # three tasks, two with maps of gates


def test_an_unfinished_sweep_says_so_and_tells_nothing_from_it(copied, tmp_path):
    path = copied / "rows" / "apple" / "vanilla.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    (copied / "rows" / "hard" / "rival.jsonl").unlink()
    (copied / "units" / "hard" / "rival" / "unit.json").unlink()
    found = write_report(copied, tmp_path / "report", resamples=50)
    assert found["missing"] == ["vanilla on apple: 1 of 60 cells are not whole.", "rival on hard: not begun."]
    pooled, banana, apple = found["scopes"]
    assert pooled["techniques"] == apple["techniques"] == ["patch", "rival", "told"]
    assert pooled["waiting"] == apple["waiting"] == ["vanilla"]
    assert banana["waiting"] == []
    assert "vanilla" not in apple["fronts"]["ssim"]
    assert pooled["gates"] == []
    assert [row["strength"] for row in found["grid"]["apple"]["vanilla"]] == [0, 0.5, 0.75, 1, 1.5]
    assert "rival" not in {row["technique"] for row in found["limits"]}
    for name in ("report.md", "report.html"):
        text = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert "This sweep is not finished. Techniques on tasks that are not whole: 2;" in text
        assert "vanilla on apple: 1 of 60 cells are not whole." in text


def test_nobody_is_ranked_by_removal_where_the_concept_is_to_become_something_else(tmp_path):
    blurred = {name: {**about, "towards": "orchard/blur"} for name, about in TASKS.items()}
    for name, tasks in {"removed": TASKS, "blurred": blurred}.items():
        write_sweep(tmp_path / name, {"rival": 2.0}, tasks=tasks)
        write_report(tmp_path / name, tmp_path / "report", name=name, resamples=50)
    removed, becoming = ((tmp_path / "report" / f"{name}.md").read_text() for name in ("removed", "blurred"))
    assert ("not to vanish" in removed, "so stands for it" in removed) == (False, True)
    assert ("not to vanish" in becoming, "so stands for it" in becoming) == (True, False)


def test_one_task_alone_is_told_as_it_is_among_others(copied, tmp_path, capsys):
    whole = write_report(copied, tmp_path / "whole", resamples=50)
    found = write_report(copied, tmp_path / "one", tasks=["banana"], resamples=50)
    assert list(found["tasks"]) == ["banana"]
    assert [scope["name"] for scope in found["scopes"]] == ["banana"]
    among = next(scope for scope in whole["scopes"] if scope["name"] == "banana")
    assert found["scopes"][0]["fronts"] == among["fronts"]
    assert "not told of here: apple, hard." in (tmp_path / "one" / "report.md").read_text(encoding="utf-8")
    line = ["report", "--sweep", str(copied), "--out", str(tmp_path / "none"), "--tasks", "bananna"]
    assert main(line) == 2
    assert "has no task 'bananna'. Did you mean 'banana'?" in capsys.readouterr().err


def test_nothing_finished_or_nothing_there_is_one_paragraph(copied, tmp_path, capsys):
    for path in (copied / "rows").rglob("*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text(lines[0])
    for path in (copied / "units").rglob("unit.json"):
        path.unlink()
    write_report(copied, tmp_path / "begun", resamples=10)  # single cells are whole: the report says what is missing
    assert "No technique is finished on banana, apple together yet." in (tmp_path / "begun" / "report.md").read_text()
    for path in (copied / "rows").rglob("*.jsonl"):
        path.write_text("")
    rows = ["--export", str(tmp_path / "rows.csv")]
    for line in (["--sweep", str(copied)], ["--sweep", str(tmp_path / "nowhere")], ["--sweep", str(copied), *rows]):
        assert main(["report", *line, "--out", str(tmp_path / "none")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "rows.csv").exists()
    with pytest.raises(InputError, match=r"No cell of the sweep in .* is whole yet"):
        write_report(copied, tmp_path / "none")


def test_without_tuning_prompts_nothing_is_chosen(tmp_path):
    (tmp_path / "set").mkdir()
    for name in ("source", "control", "heldout_source", "heldout_control"):
        lines = [json.dumps({"prompt": f"{name} {number}", "labels": ["banana"]}) + "\n" for number in range(3)]
        (tmp_path / "set" / f"{name}.jsonl").write_text("".join(lines))
    concept = {"label": "banana", "text": "a banana", "alternatives": ["a cup"]}
    (tmp_path / "set" / "concept.json").write_text(json.dumps(concept))
    tasks = {"own": {"concepts": [str(tmp_path / "set")]}}
    write_sweep(tmp_path / "sweep", tasks=tasks, grid={"strengths": [0.5, 1.0]}, drawn=False)
    found = write_report(tmp_path / "sweep", tmp_path / "report", resamples=50)
    [scope] = found["scopes"]
    assert scope["best"] is None
    assert list(scope["fronts"]) == ["ssim"]
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "There are no tuning prompts, so nothing is chosen or compared" in text
    assert "Removal or other kept was not measured here" in text
    assert "Judged are λ = 0.5, 1." in text
    assert "No pictures of own were kept" in text


def test_command_exports_every_row(told, tmp_path, capsys):
    top, _ = told
    path = top / "sweep"
    status = main(
        ["report", "--sweep", str(path), "--out", str(tmp_path / "out"), "--export", str(tmp_path / "rows.csv")]
    )
    assert status == 0
    shown = capsys.readouterr().out
    assert "CAA, patch gate" in shown
    assert "▲ ahead" in shown
    cells = read_rows(path)
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == sum(map(len, cells.values()))
    assert f"{len(table)} rows are in" in shown
    assert export_rows(path, tmp_path / "r.jsonl") == len(table)
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len(lines) == len(table)
    expected = {
        (cell.task, cell.technique, cell.split, cell.kind, cell.seed, cell.strength, int(row["index"])): row
        for cell, rows in cells.items()
        for row in rows
    }
    names = ("task", "technique", "split", "kind", "seed", "strength", "index")
    assert {tuple(line[name] for name in names) for line in lines} == set(expected)
    for line, written in zip(lines, table, strict=True):
        row = expected[tuple(line[name] for name in names)]
        assert line["picture_seed"] == row["seed"]
        for name, value in row.items():
            if name not in ("seed", "index"):
                assert line[name] == (None if math.isnan(value) else value)
                assert written[name] == ("" if math.isnan(value) else str(value))


def test_another_ending_is_refused_before_anything_is_written(told, tmp_path, capsys):
    line = ["report", "--sweep", str(told[0] / "sweep"), "--out", str(tmp_path / "out"), "--export", "rows.xlsx"]
    assert main(line) == 2
    assert "export is 'rows.xlsx'; name a file that ends in .csv or .jsonl" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_report_may_stand_in_the_sweeps_own_folder_and_be_written_again(copied):
    before = read_rows(copied)
    first = write_report(copied, copied, resamples=20)
    kept = (copied / "report.json").read_bytes()
    again = write_report(copied, copied, resamples=20)
    assert (copied / "report.json").read_bytes() == kept
    assert first.keys() == again.keys()
    assert read_rows(copied).keys() == before.keys()


def drawn_path(svg: str, name: str) -> list[tuple[float, float]]:
    """The corners of one technique's staircase, in the plot's units."""
    group = re.search(rf"<g><title>{re.escape(name)}</title>(.*?)</g>", svg, re.DOTALL)
    assert group is not None
    line = re.search(r'<path d="([^"]+)" fill="none"', group[1])
    assert line is not None
    x = y = 0.0
    corners = []
    for letter, numbers in re.findall(r"([MVH])([\d. ]+)", line[1]):
        values = [float(value) for value in numbers.split()]
        x, y = (values[0], values[1]) if letter == "M" else (values[0], y) if letter == "H" else (x, values[0])
        corners.append((x, y))
    return corners


@pytest.mark.parametrize("scale", ["linear", "nines"])
def test_a_drawn_front_is_the_staircase(scale):
    points = [(0.0, 1.0), (0.5, 0.95), (0.7, 0.85), (0.8, 0.9)]
    front = {
        "points": [
            {"mark": f"λ = {place}", "removal": r, "preservation": p, "front": place != 2}
            for place, (r, p) in enumerate(points)
        ],
        "band": [[0.9, 0.8, 0.0], [1.0, 0.95, 0.9]],
    }
    svg = front_plot([Line("a & b", front, 0), Line("grey", front, None)], [0.25, 0.5, 0.75], "kept", "A plot.", scale)
    for text in (svg, standalone(svg)):
        ElementTree.fromstring(text)
    corners = drawn_path(svg, "a &amp; b")
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    left, full = xs[0], (xs[-1] - xs[0]) / 0.8
    assert [(x - left) / full for x in xs] == pytest.approx([0, 0, 0.5, 0.5, 0.8], abs=1e-3)
    top = ys[0]
    assert ys[1] == ys[2]
    assert ys[3] == ys[4]
    assert top < ys[1] < ys[3]
    if scale == "linear":
        assert (ys[3] - top) / (ys[1] - top) == pytest.approx(2, abs=0.02)
    else:  # 1 is told from what is 1e-5 below it; 0.95 and 0.9 are 1.3 and 1 decades below 1
        decades = [5, -math.log10(0.05), 1]
        assert (ys[3] - top) / (ys[1] - top) == pytest.approx((5 - decades[2]) / (5 - decades[1]), abs=0.02)
    assert svg.count("<circle") == 6
    assert svg.count("λ = 2: removal 70.0%, 0.8500") == 2


def test_names_at_the_ends_of_lines_do_not_lie_on_one_another():
    front = {"points": [{"mark": "", "removal": 0.0, "preservation": 1.0, "front": True},
                        {"mark": "", "removal": 1.0, "preservation": 0.9, "front": True}],
             "band": [[0.9], [0.9]]}  # fmt: skip
    svg = front_plot([Line(f"technique {n}", front, n) for n in range(7)], [1.0], "kept", "A plot.")
    places = [float(y) for y in re.findall(r'y="([\d.]+)" fill="var\(--c\d\)"', svg)]
    assert len(places) == 7
    gaps = np.diff(sorted(places))
    assert gaps.min() > 17
    assert max(places) < 400


def test_numbers_are_written_once():
    assert number(None, ".1%") == number(math.nan, ".4f") == interval(None, ".1%") == "–"
    assert interval([0.5, 0.4, 0.625], ".1%") == "50.0% (40.0–62.5)"
    assert interval([0.1, -0.2, 0.3], "+.2f") == "+0.10 (-0.20 to +0.30)"
