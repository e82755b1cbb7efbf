"""`dsas fit`, `generate` and `inspect` in a row on a pipeline's folder, as people call them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import GENERATION, draw, tiny_concept, tiny_pipeline

from dsas_diffusion import Steerer
from dsas_diffusion.cli import main
from dsas_diffusion.hooks.storage import FILES

STEPS = ["--num-inference-steps", "2", "--guidance-scale", "4"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pipeline's folder and a prompt set's, side by side."""
    folder = tmp_path_factory.mktemp("commands")
    pipe = tiny_pipeline()
    pipe.save_pretrained(folder / "model")
    concept = tiny_concept()
    (folder / "set").mkdir()
    for group in ("source", "target", "control"):
        lines = [json.dumps({"prompt": text}) for text in concept.texts(group)]
        (folder / "set" / f"{group}.jsonl").write_text("\n".join(lines))
    about = {"label": "zzz", "text": "a photo of zzz", "twins": True}
    (folder / "set" / "concept.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def steerer(place):
    line = ["fit", "--model", str(place / "model"), "--prompts", str(place / "set"), "--out", str(place / "off")]
    assert main([*line, *STEPS, "--tau", "0.5", "--strength", "3", "--device", "cpu"]) == 0
    return place / "off"


def test_fitted_steerer_is_the_librarys(steerer, place):
    import dsas_diffusion as dsas

    loaded = Steerer.from_pretrained(steerer)
    settings = {key: GENERATION[key] for key in ("num_inference_steps", "guidance_scale")}
    expected = dsas.fit(tiny_pipeline(), dsas.load_prompts(place / "set"), gate="patch", tau=0.5, generation=settings,
                        progress=False)  # fmt: skip
    assert loaded.strength == 3
    assert sorted(file.name for file in steerer.iterdir()) == sorted(FILES)
    assert "Prompts that the fit has seen of set," in (steerer / "README.md").read_text(encoding="utf-8")
    assert loaded.sites.keys() == expected.sites.keys()
    for path, site in loaded.sites.items():
        assert torch.allclose(site.method.shift, expected.sites[path].method.shift, atol=1e-5)


def test_the_best_heads_by_command(place, tmp_path, capsys):
    line = ["fit", "--model", str(place / "model"), "--prompts", str(place / "set"), "--out", str(tmp_path / "off")]
    settings = ["--tau", "0.5", "--method", "iti_c", "--sites", "attention-heads", "--top_k", "3", "--device", "cpu"]
    assert main([*line, *STEPS, *settings, "--no-picture"]) == 0
    assert not (tmp_path / "off" / "picture.png").exists()
    assert [s.site.kind for s in Steerer.from_pretrained(tmp_path / "off").sites.values()] == ["attention-head"] * 3
    assert main([*line, *STEPS, *settings, "--top-k", "0", "--overwrite"]) == 2
    assert "top_k must be" in capsys.readouterr().err
    assert main(["inspect", "--model", str(place / "model"), "--sites", "attention-heads"]) == 0
    assert "UNet2DConditionModel: 16 sites" in capsys.readouterr().out


def test_pictures_and_their_twins(steerer, place, capsys):
    out = place / "drawn"
    line = ["generate", "--model", str(place / "model"), "--steerer", str(steerer), "--out", str(out), "--gates"]
    assert main([*line, "--prompt", '["zzz zuzu", "eee oror"]', "--seed", "5", "--device", "cpu"]) == 0
    assert "grid.png" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["gates.png", "grid.png", "prompts.jsonl", "steered", "unsteered"]
    rows = [json.loads(row) for row in (out / "prompts.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["zzz zuzu", "eee oror"]
    expected = draw(tiny_pipeline(), ["zzz zuzu", "eee oror"], seed=5, height=None, width=None)
    for index, picture in enumerate(expected):
        found = torch.from_numpy(np.array(Image.open(out / "unsteered" / f"00{index}.png")))
        assert (found / 255 - picture.permute(1, 2, 0)).abs().max() < 0.01
    assert (out / "steered" / "000.png").read_bytes() != (out / "unsteered" / "000.png").read_bytes()


def test_prompts_from_a_file_without_twins(steerer, place):
    (place / "prompts.csv").write_text("prompt\nzzz zuzu\n")
    out = place / "alone"
    line = ["generate", "--model", str(place / "model"), "--steerer", str(steerer), "--out", str(out)]
    assert main([*line, "--prompts", str(place / "prompts.csv"), "--no-twins", "--strength", "0"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["grid.png", "prompts.jsonl", "steered"]


def test_inspect_lists_sites_and_says_what_a_steerer_holds(steerer, place, capsys):
    assert main(["inspect", "--model", str(place / "model"), "--sites", '["cross-attention"]']) == 0
    shown = capsys.readouterr().out
    assert "UNet2DConditionModel: 4 sites" in shown
    assert "mid_block.attentions.0.transformer_blocks.0.attn2" in shown
    assert main(["inspect", "--steerer", str(steerer)]) == 0
    shown = capsys.readouterr().out
    assert "zzz: method caa, gate patch, strength 3" in shown
    assert "The gates read where at" in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["fit", "--prompts", "nowhere", "--out", "x"], "There is no prompt set 'nowhere'"),
        (["fit", "--prompts", "orchard/banana", "--out", "x", "--model", "/no/model"], "No pipeline could be loaded"),
        (["generate", "--steerer", "x", "--out", "y"], "Give either prompt"),
        (["generate", "--steerer", "/no/steerer", "--out", "y", "--prompt", "a"], "no steerer could be fetched"),
        (["inspect", "--sites", '["nope"]'], "matches nothing"),
        (["inspect", "--model", "orchard", "--precision", "int4"], "--precision is 'int4'"),
    ],
)
def test_bad_input_is_one_paragraph_and_status_2(line, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(line) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_is_refused_before_the_fit(steerer, place, capsys):
    line = ["fit", "--model", str(place / "model"), "--prompts", str(place / "set"), "--out", str(steerer)]
    assert main([*line, *STEPS, "--tau", "0.5"]) == 2
    captured = capsys.readouterr()
    assert "exists and is not empty" in captured.err
    assert "picture" not in captured.err  # no bar: nothing was drawn


def test_a_strength_that_is_refused_leaves_no_folder(steerer, place, capsys):
    out = place / "refused"
    line = ["generate", "--model", str(place / "model"), "--steerer", str(steerer), "--out", str(out), "--prompt", "a"]
    assert main([*line, "--strength", ".nan"]) == 2
    assert not out.exists()


def test_calibrated_steerer_is_saved_with_its_curve(steerer, place, tmp_path, capsys):
    tuned = place / "tuned"
    tuned.mkdir()
    for file in (place / "set").iterdir():
        (tuned / file.name).write_bytes(file.read_bytes())
    (tuned / "tuning_control.jsonl").write_text(json.dumps({"prompt": "eee ororo"}))
    line = ["calibrate", "--model", str(place / "model"), "--steerer", str(steerer), "--prompts", str(tuned)]
    assert main([*line, "--budget", "0.9", "--highest", "2", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert "Strength 2, saved" in capsys.readouterr().out
    loaded = Steerer.from_pretrained(tmp_path / "out")
    assert loaded.strength == 2
    assert [strength for strength, _ in loaded.manifest["calibration"]["curve"]] == [2.0]
    assert "Tuning prompts of tuned" in loaded.card.caption
    assert "λ = 2)" in loaded.card.caption


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--removal", "0.9"], "Orchard's detector knows no 'zzz'"),
        (["--removal", "0.9", "--judge", "orchard"], "names no alternatives"),
        (["--budget", "0.1"], "no tuning prompts"),
        ([], "Ask for one of removal"),
    ],
)
def test_a_calibration_that_cannot_be_is_explained(steerer, place, tmp_path, options, message, capsys):
    line = ["calibrate", "--model", str(place / "model"), "--steerer", str(steerer), "--prompts", str(place / "set")]
    assert main([*line, *options, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_training_by_command_says_what_it_changed(place, tmp_path, capsys):
    line = ["fit", "--model", str(place / "model"), "--prompts", str(place / "set"), "--out", str(tmp_path / "off")]
    assert main([*line, *STEPS, "--tau", "0.5", "--method", "lineas", "--training.iterations", "3"]) == 0
    loaded = Steerer.from_pretrained(tmp_path / "off")
    assert len(loaded.manifest["fit"]["training"]["losses"]) == 3
    channels = sum(s.site.channels for s in loaded.sites.values())
    said = capsys.readouterr().out
    assert "Trained end to end: 3 iterations" in said
    assert f"the maps change {channels} of {channels} channels" in said
