"""The model card: what is known and nothing else, whatever a stranger has written into it."""

import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from tiny import GENERATION, tiny_concept, tiny_pipeline

import dsas_diffusion as dsas
from dsas_diffusion import Card, Steerer
from dsas_diffusion.drawing import pictured_card
from dsas_diffusion.errors import InputError
from dsas_diffusion.fitting.fit import fit
from dsas_diffusion.hooks.card import PICTURE
from dsas_diffusion.hooks.storage import FILES, MANIFEST, README

FIGURES = Card(
    figures={"removed, of 64": 0.9375, "control, median PSNR": "∞"},
    about="On held-out prompts at λ = 2.",
    picture=Image.new("RGB", (6, 4), (200, 30, 30)),
    caption="Left unsteered, right steered.",
    license="apache-2.0",
)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def fitted(pipe):
    return fit(pipe, tiny_concept(), tau=0.5, strength=2.0, generation=GENERATION, progress=False)


@pytest.fixture
def steerer(fitted):
    return Steerer(list(fitted.sites.values()), fitted.manifest)


def with_entries(steerer, **entries):
    return Steerer(list(steerer.sites.values()), {**steerer.manifest, **entries})


def test_a_card_says_what_the_fit_knew_and_no_more(steerer):
    text = steerer.model_card()
    manifest = steerer.manifest
    for known in (
        "“zzz”",
        "UNet2DConditionModel",
        manifest["model"]["config_digest"],
        "`caa`",
        "`patch` (components 20",
        tiny_concept().digest,
        "num\\_inference\\_steps 2, guidance\\_scale 4.0",
        "source 10, target 10, control 12",
        "6 control prompts",
        "was not measured on other prompts",
    ):
        assert known in text
    for row in steerer.diagnose().sites:
        assert f"| `{row['path']}` | {row['kind']} | {row['weight']:.3f} | {row['accuracy']:.3f} |" in text
    for unknown in ("## Figures", "## Strength\n", "![", "Base model", "license", "base_model", "None", "nan"):
        assert unknown not in text


def test_the_hub_reads_the_front_matter(steerer):
    model = {**steerer.manifest["model"], "id": "owner/base", "revision": "c0ffee"}
    known = with_entries(steerer, model=model)
    known.card = FIGURES
    data = ModelCard(known.model_card()).data
    assert data.to_dict() == {
        "base_model": "owner/base",
        "library_name": "dsas-diffusion",
        "license": "apache-2.0",
        "tags": ["dsas-diffusion", "diffusers", "activation-steering"],
    }
    assert "| Base model | `owner/base` at revision `c0ffee` |" in known.model_card()


def test_the_code_on_a_card_runs(steerer, pipe, tmp_path, monkeypatch):
    from diffusers import DiffusionPipeline

    folder = steerer.save_pretrained(tmp_path / "off")
    code = steerer.model_card(str(folder)).partition("```python\n")[2].partition("```")[0]
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", lambda name: pipe)
    assert 'pipe("a photo of zzz", num_inference_steps=2, guidance_scale=4.0, height=16, width=16)' in code
    exec(code, {})
    assert dsas.get_active_steering(pipe) == {"zzz": 2.0}
    dsas.unload_steering(pipe)


def test_figures_and_picture_stay_with_the_steerer(steerer, tmp_path):
    steerer.card = FIGURES
    folder = steerer.save_pretrained(tmp_path / "one")
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    again = Steerer.from_pretrained(folder)
    assert again.card == FIGURES
    assert again.model_card() == steerer.model_card() == (folder / README).read_text(encoding="utf-8")
    for line in ("| removed, of 64 | 0.9375 |", "| control, median PSNR | ∞ |", f"]({PICTURE})", FIGURES.about):
        assert line in again.model_card()
    again.card = Card()
    again.save_pretrained(folder, overwrite=True)
    assert sorted(file.name for file in folder.iterdir()) == sorted({*FILES} - {PICTURE})
    assert "card" not in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))


def test_a_calibrated_strength_comes_with_its_curve(steerer):
    told = {
        "wanted": {"removal": 0.9},
        "strength": 2.5,
        "prompts": {"name": "tiny", "digest": "d1"},
        "seed": 0,
        "curve": [[2.0, 0.75], [2.5, 0.9375]],
    }
    text = with_entries(steerer, strength=2.5, calibration=told).model_card()
    assert "chose λ = 2.5 for a removal of 0.9 on the tuning prompts of `tiny`" in text
    assert "| 2 | 0.75 |\n| 2.5 | 0.9375 |" in text
    assert '{"zzz": 2.5}' in text


def test_another_goal_than_the_targets_is_told(steerer):
    text = with_entries(steerer, towards={"name": "orchard/blur", "digest": "b1"}).model_card()
    assert "moves “zzz” (“a photo of zzz”) along the prompt set `orchard/blur`" in text


NASTY = [
    "a | b",
    "---\nlicense: mit\n---",
    "<script>alert(1)</script>",
    "![x](https://example.org/x.png)",
    "``` \n```\n# head",
    "`code`",
    'quote " and \\ back\\',
    "tags: [a, b]: {c}",
    "\u202eturned\u0000",
    "*bold* _it_ ~~gone~~ &amp;",
]


@pytest.mark.parametrize("text", NASTY)
def test_what_a_stranger_wrote_stays_text(steerer, text):
    model = {**steerer.manifest["model"], "id": text}
    nasty = with_entries(
        steerer,
        model=model,
        concept={"label": text, "text": text},
        prompts={"name": text, "digest": text},
        generation={text: text},
        fit={**steerer.manifest["fit"], "suspects": [text] * 6},
    )
    nasty.card = Card({text: text}, text, Image.new("RGB", (2, 2)), text, text)
    head, _, body = nasty.model_card(text).removeprefix("---\n").partition("\n---\n")
    assert yaml.safe_load(head)["license"] == text
    assert set(yaml.safe_load(head)) == {"library_name", "license", "tags"}
    before, code, after = re.split(r"^```.*$", body, flags=re.MULTILINE)
    compile(code, "card", "exec")
    bare = re.sub(r"(?<!\\)`[^`\n]+`", "", before + after)  # without code
    bare = re.sub(r"\\[^\w\s]", "", bare)  # without escaped marks
    assert not set(bare) & set("`<>~&")
    assert bare.count("![") == 1
    assert len(re.findall("^#", bare, re.MULTILINE)) == 7
    assert bare.count("**") == 2  # the diagnosis' own
    assert bare.count("](") == 2  # the paper and the picture
    assert not re.search("[\u0000\u202e]", body)


def test_every_row_of_a_table_has_its_cells(steerer):
    steerer.card = Card({"a | b": "c | d"})
    nasty = with_entries(steerer, prompts={"name": "p|q`", "digest": "d"}, concept={"label": "|", "text": "|"})
    nasty.card = steerer.card
    width = None
    for line in nasty.model_card().splitlines():
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else None
        assert None in (width, cells) or cells == width
        width = cells


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"figures": {"removed": float("nan")}}, "finite number, or text"),
        ({"figures": {"removed": True}}, "finite number, or text"),
        ({"figures": {"removed": [1]}}, "finite number, or text"),
        ({"figures": [("removed", 1)]}, "figures must map"),
        ({"about": 3}, "about must be text"),
        ({"license": 3}, "license must be text"),
        ({"picture": "grid.png"}, "picture must be a Pillow image"),
    ],
)
def test_a_card_that_cannot_be_is_explained(settings, message):
    with pytest.raises(InputError, match=message):
        Card(**settings)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / PICTURE).write_bytes((f / PICTURE).read_bytes()[:30]), r"picture\.png can't be read"),
        (lambda f: (f / PICTURE).write_bytes(b"GIF89a"), r"picture\.png can't be read"),
        (lambda f: rewrite(f, card=[1]), "must hold a JSON object"),
        (lambda f: rewrite(f, card={"figures": {}}), "no entry 'about'"),
        (lambda f: rewrite(f, model={"class": "X"}), "no entry 'id'"),
        (lambda f: rewrite(f, prompts={"name": "X"}), "no entry 'digest'"),
        (lambda f: rewrite(f, concept={}), "no entry 'label'"),
    ],
)
def test_a_damaged_card_is_explained(steerer, tmp_path, damage, message):
    steerer.card = FIGURES
    folder = steerer.save_pretrained(tmp_path / "off")
    damage(folder)
    with pytest.raises(InputError, match=message):
        Steerer.from_pretrained(folder)


def rewrite(folder, **entries):
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, **entries}), encoding="utf-8")


def test_a_write_that_fails_leaves_the_earlier_folder(steerer, tmp_path, monkeypatch):
    folder = steerer.save_pretrained(tmp_path / "off")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    steerer.card = FIGURES
    monkeypatch.setattr(Image.Image, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        steerer.save_pretrained(folder, overwrite=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["off"]


def test_a_picture_is_drawn_from_prompts_and_says_which(pipe, steerer):
    steerer.card = Card({"removed": 1.0})
    card = pictured_card(pipe, steerer, tiny_concept())
    assert card.figures == {"removed": 1.0}
    assert card.caption.startswith("Prompts that the fit has seen of tiny,")
    assert "λ = 2" in card.caption
    assert card.picture.width > card.picture.height / 4
    assert pictured_card(pipe, steerer, tiny_concept()) == card
    longer = pictured_card(pipe, steerer, tiny_concept(), each=4)
    assert longer.picture.size != card.picture.size
