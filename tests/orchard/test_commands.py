"""`dsas orchard render` and `check`: what they write, what they refuse, and the figures' arithmetic."""

import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image
from untrained import untrained_dit, untrained_unet

from dsas_diffusion.cli import main
from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard import cards, check, weight_files
from dsas_diffusion.orchard.detector import Detector, DetectorNetwork
from dsas_diffusion.orchard.figures import Figure, Tally, wilson_interval
from dsas_diffusion.orchard.measures import pipeline_figures, prompts_of, scene_figures
from dsas_diffusion.orchard.scenes import render
from dsas_diffusion.orchard.training.denoising import save_pipeline
from dsas_diffusion.orchard.world import SEEDS


def test_render_writes_a_dataset(tmp_path, capsys):
    out = tmp_path / "scenes"
    assert main(["orchard", "render", "--out", str(out), "--n", "6", "--seed", "3"]) == 0
    assert str(out) in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["images", "masks", "metadata.jsonl", "sheet.png"]
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    for number, row in enumerate(rows):
        scene = render(SEEDS["tuning"].start + 3 + number)
        assert row["text"] == scene.caption
        assert np.array_equal(np.asarray(Image.open(out / row["file_name"])), np.asarray(scene.image))
        assert [thing["name"] for thing in row["objects"]] == [thing.name for thing in scene.objects]
        for thing, drawn in zip(row["objects"], scene.objects, strict=True):
            assert np.array_equal(np.asarray(Image.open(out / thing["mask"])) > 0, drawn.mask)
    assert Image.open(out / "sheet.png").width > 6 * 192


def test_render_keeps_to_the_objects_and_the_look(tmp_path):
    out = tmp_path / "scenes"
    arguments = ["orchard", "render", "--out", str(out), "--n", "12", "--objects", "[cup,pear]", "--look", "sketch"]
    assert main(arguments) == 0
    assert main(arguments) == 0  # an earlier dataset may be replaced
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert {thing["name"] for row in rows for thing in row["objects"]} == {"cup", "pear"}
    assert {row["look"] for row in rows} == {"sketch"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--objects", "[kiwi]"], "no object called 'kiwi'"),
        (["--objects", "[]"], "objects is empty"),
        (["--look", "oil"], "no look called 'oil'"),
        (["--split", "train"], "no split called 'train'"),
        (["--n", "0"], "n=0"),
        (["--seed", "999999", "--n", "2"], "leaves room"),
    ],
)
def test_render_refuses_before_it_writes(arguments, told, tmp_path, capsys):
    assert main(["orchard", "render", "--out", str(tmp_path / "scenes"), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_render_leaves_foreign_folders_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["orchard", "render", "--out", str(tmp_path), "--n", "2"]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_check_measures_the_scenes(tmp_path, capsys):
    file = tmp_path / "figures.json"
    assert main(["orchard", "check", "--only", "scenes", "--json", str(file)]) == 0
    assert "MISSED" not in capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["met"] is True
    assert {figure["model"] for figure in report["figures"]} == {"scenes"}
    assert all(figure["n"] >= 200 for figure in report["figures"])


def test_figures_of_models_that_are_not_measured_stay(tmp_path):
    file = tmp_path / "figures.json"
    scene, clip = (
        {"model": model, "figure": "f", "value": 0.5, "met": model == "clip"} for model in ("scenes", "clip")
    )
    file.write_text(json.dumps({"figures": [scene, clip]}))
    assert main(["orchard", "check", "--only", "scenes", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert report["figures"][0] == clip
    assert scene not in report["figures"]
    assert report["met"] is True


def test_a_missed_figure_gives_status_1(monkeypatch, capsys):
    missed = [Figure("scenes", "pairs", 0.3, (0.42, 0.48), 100, (0.2, 0.4))]
    monkeypatch.setattr(check, "measure", lambda *_: missed)
    assert main(["orchard", "check", "--only", "scenes"]) == 1
    out = capsys.readouterr().out
    assert "MISSED" in out
    assert "42 % to 48 %" in out


@pytest.mark.parametrize(
    ("name", "denoiser", "steps", "guidance", "asked"),
    [
        ("unet", "unet", 50, 7.5, [(0.95, 1.0), (0.85, 1.0), (0.95, 1.0), (0.0, 1.0)]),
        ("dit", "transformer", 28, 7.0, [(0.90, 1.0), (0.75, 1.0), (0.95, 1.0), (0.0, 1.0)]),
    ],
)
def test_pipelines_are_measured_with_their_class_defaults(name, denoiser, steps, guidance, asked):
    pipe = untrained_unet() if name == "unet" else untrained_dit(small=True)
    texts = []
    getattr(pipe, denoiser).register_forward_pre_hook(
        lambda module, args, kwargs: texts.append(kwargs["encoder_hidden_states"].shape), with_kwargs=True
    )
    figures = pipeline_figures(name, pipe, Detector(DetectorNetwork(16).eval()), 1, batch_size=2)
    assert [figure.asked for figure in figures] == asked
    assert {figure.model for figure in figures} == {name}
    assert [figure.n for figure in figures] == [1, 1, 1, 3]
    assert pipe.guidance_scale == guidance
    tokens = 32 if name == "unet" else 32 + 256
    assert [shape[:2] for shape in texts] == [(4, tokens)] * steps + [(2, tokens)] * steps  # guidance doubles the batch


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Committed weights of the DiT and the detector alone, the DiT with random ones and a card."""
    folder = tmp_path / "weights"
    shutil.copytree(weight_files.WEIGHTS / "detector", folder / "detector")
    save_pipeline(untrained_dit(small=True), folder / "dit")
    (folder / "dit" / "README.md").write_text(f"# DiT\n{cards.BEGIN}\n{cards.END}\n")
    monkeypatch.setattr(weight_files, "WEIGHTS", folder)
    monkeypatch.setattr(cards, "WEIGHTS", folder)
    return folder


def test_check_measures_the_dit(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(check, "QUICK", (1, 2))
    file, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    arguments = ["--only", "dit", "--quick", "--json", str(file), "--samples", str(sheet), "--write_cards"]
    status = main(["orchard", "check", *arguments])
    report = json.loads(file.read_text())
    assert status == (0 if report["met"] else 1)
    assert {figure["model"] for figure in report["figures"]} == {"dit"}
    assert "| single objects shown |" in (weights / "dit" / "README.md").read_text()
    assert f"wrote {sheet}" in capsys.readouterr().out
    assert Image.open(sheet).width > 4 * 256


def test_missing_weights_are_told_before_anything_is_measured(weights, monkeypatch, capsys):
    monkeypatch.setattr(check, "scene_figures", lambda *_: pytest.fail("measured before everything was loaded"))
    assert main(["orchard", "check"]) == 2
    assert "Orchard's clip are not there" in capsys.readouterr().err
    shutil.rmtree(weights / "dit")
    assert main(["orchard", "check", "--only", "dit"]) == 2
    assert "train it again with `dsas orchard train dit`" in capsys.readouterr().err


def test_samples_are_of_the_unet_unless_the_dit_is_measured(weights, tmp_path, capsys):
    assert main(["orchard", "check", "--only", "scenes", "--quick", "--samples", str(tmp_path / "sheet.png")]) == 2
    assert "Orchard's unet are not there" in capsys.readouterr().err


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (7, 10), (199, 200), (200, 200)])
def test_wilson_interval_solves_its_equation(hits, n):
    z = 1.959964
    low, high = wilson_interval(hits, n)
    for end in (low, high):  # the ends are the shares p from which hits / n is z standard errors away
        distance = abs(hits / n - end)
        assert distance == pytest.approx(z * math.sqrt(end * (1 - end) / n), abs=1e-7)
    assert 0 <= low <= hits / n <= high <= 1


def test_tallies():
    tally = Tally()
    for outcome, part in ((1, "a"), (0, "a"), (1, "b"), (1, "b")):
        tally.add(outcome, part)
    figure = tally.share("unet", "x", 0.7)
    assert (figure.value, figure.n, figure.met) == (0.75, 4, True)
    assert figure.parts == {"a": (0.5, 2), "b": (1.0, 2)}
    assert not tally.mean("unet", "x", 0.8).met
    nothing = Tally().share("unet", "x", 0.0)
    assert nothing.n == 0
    assert not nothing.met


def test_prompts_are_of_their_kind():
    for kind, count in (("empty", 0), ("single", 1), ("pair", 2)):
        prompts = prompts_of(kind, 60)
        assert len(prompts) == 60
        assert {len(prompt.objects) for prompt in prompts} == {count}
    assert any(not prompt.named for prompt in prompts_of("single", 60))
    assert len({prompt.spec.look for prompt in prompts_of("single", 60)}) == 3


def test_cards_take_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    (tmp_path / "clip").mkdir()
    card = tmp_path / "clip" / "README.md"
    card.write_text(f"# CLIP\n{cards.BEGIN}\nold\n{cards.END}\nmore\n")
    figure = Figure("clip", "blurry or sharp", 0.987, (0.95, 1.0), 500, (0.97, 0.995), {"sharp": (0.99, 250)})
    for _ in range(2):  # twice gives the same
        cards.write_cards([*scene_figures(20), figure])
        text = card.read_text()
        assert text.startswith(f"# CLIP\n{cards.BEGIN}\n| figure |")
        assert "| blurry or sharp | 98.7% | ≥ 95 % | 500 | 97.0% to 99.5% |" in text
        assert "Blurry or sharp, by part (n): sharp 99.0% (250)." in text
        assert text.endswith(f"{cards.END}\nmore\n")
        assert "old" not in text
    card.write_text("# CLIP\n")
    with pytest.raises(InputError, match="once each"):
        cards.write_cards([figure])
