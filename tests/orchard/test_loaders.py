"""Loading weights: missing, cut-off and foreign files are told; what was written is read."""

import json
import shutil

import numpy as np
import open_clip
import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from untrained import untrained_dit, untrained_unet

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard import load_clip, load_detector, load_language_model, load_pipeline
from dsas_diffusion.orchard import weight_files as weights
from dsas_diffusion.orchard.clip import CONFIG_FILE, WEIGHTS_FILE, clip_config
from dsas_diffusion.orchard.detector import Detector, DetectorNetwork
from dsas_diffusion.orchard.scenes import render
from dsas_diffusion.orchard.text.tokenizer import build_language_tokenizer
from dsas_diffusion.orchard.tokenizer import build_tokenizer
from dsas_diffusion.orchard.training.clip import build_clip, contrastive_loss, encode_captions
from dsas_diffusion.orchard.training.denoising import save_pipeline
from dsas_diffusion.orchard.training.language import build_language_model, save_language_model
from dsas_diffusion.orchard.training.roundtrip import load_autoencoder
from dsas_diffusion.orchard.world import OBJECTS


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with a random model of each kind, as the training commands write them."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    network = DetectorNetwork(16)
    config = {"objects": list(OBJECTS), "width": 16}
    weights.write_weights(root / "detector", network.state_dict(), {"config.json": config}, "model.safetensors")
    config = clip_config(len(tokenizer), tokenizer.eos_token_id)
    clip = build_clip(config)
    weights.write_weights(
        root / "clip", clip.state_dict(), {CONFIG_FILE: config}, WEIGHTS_FILE, also=tokenizer.save_pretrained
    )
    save_pipeline(untrained_unet(), root / "unet")
    save_pipeline(untrained_dit(), root / "dit")
    texts = build_language_tokenizer()
    save_language_model(build_language_model(texts, 16, 1), texts, root / "language")
    return root


@pytest.fixture
def copy(folders, tmp_path):
    """The same folders, to be broken."""
    return shutil.copytree(folders, tmp_path / "copy")


LOADERS = {
    "detector": load_detector,
    "clip": load_clip,
    "unet": lambda folder: load_pipeline(folder=folder),
    "dit": lambda folder: load_pipeline("dit", folder=folder),
    "language": lambda folder: load_language_model(folder=folder),
}
BIGGEST = {
    "detector": "model.safetensors",
    "clip": "open_clip_model.safetensors",
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "dit": "transformer/diffusion_pytorch_model.safetensors",
    "language": "model.safetensors",
}


@pytest.mark.parametrize("model", LOADERS)
def test_missing_weights_name_the_command_that_makes_them(model, tmp_path, copy):
    with pytest.raises(InputError, match=rf"{tmp_path}/none is not a folder.*dsas orchard train {model}"):
        LOADERS[model](folder=tmp_path / "none")
    (copy / model / BIGGEST[model]).unlink()
    with pytest.raises(InputError, match=rf"is missing.*dsas orchard train {model}"):
        LOADERS[model](folder=copy / model)


@pytest.mark.parametrize("model", LOADERS)
def test_cut_off_weights_are_told(model, copy):
    file = copy / model / BIGGEST[model]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{file.name} is cut off"):
        LOADERS[model](folder=copy / model)
    file.write_bytes(b"version https://git-lfs")
    with pytest.raises(InputError, match=f"{file.name} is cut off"):
        LOADERS[model](folder=copy / model)


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("detector", "config.json"),
        ("clip", CONFIG_FILE),
        ("unet", "unet/config.json"),
        ("dit", "text_encoder_2/config.json"),
        ("language", "config.json"),
    ],
)
def test_a_broken_config_is_told(model, file, copy):
    (copy / model / file).write_text('{"width": ')
    with pytest.raises(InputError, match="not valid JSON"):
        LOADERS[model](folder=copy / model)


def test_weights_of_another_shape_are_told(copy):
    config = copy / "detector" / "config.json"
    config.write_text(json.dumps({"objects": list(OBJECTS), "width": 24}))
    with pytest.raises(InputError, match=r"tensor 'context.*should be \(.*\), but is \("):
        load_detector(copy / "detector")
    config.write_text(json.dumps({"objects": ["dog"], "width": 16}))
    with pytest.raises(InputError, match="describes a detector of objects"):
        load_detector(copy / "detector")


def test_an_unknown_pipeline_is_told():
    with pytest.raises(InputError, match=r"no pipeline called 'vit'.*unet, dit"):
        load_pipeline("vit")


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_every_file_that_a_pipeline_saves_is_missed(name, copy):
    files = [file for file in (copy / name).rglob("*") if file.is_file()]
    for file in files:
        away = file.rename(file.with_suffix(".away"))
        with pytest.raises(InputError, match=f"{file.parent.name}/{file.name} is missing"):
            load_pipeline(name, folder=copy / name)
        away.rename(file)


def test_a_pipeline_of_the_other_class_is_told(folders):
    with pytest.raises(InputError, match=r"Orchard's dit are incomplete: .*text_encoder_2/config.json is missing"):
        load_pipeline("dit", folder=folders / "unet")
    with pytest.raises(InputError, match=r"Orchard's unet are incomplete: .*unet/config.json is missing"):
        load_pipeline("unet", folder=folders / "dit")


def test_a_missing_autoencoder_is_told(tmp_path, folders):
    with pytest.raises(InputError, match="--autoencoder none"):
        load_autoencoder(str(tmp_path / "none"))
    assert load_autoencoder("none") is None
    assert load_autoencoder(str(folders / "unet" / "vae")).dtype == torch.float32


def test_the_pipeline_draws_in_the_type_asked_for(folders):
    pipe = load_pipeline(folder=folders / "unet")
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}
    pipe.set_progress_bar_config(disable=True)
    [image] = pipe("a banana", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images
    assert image.size == (64, 64)
    assert load_pipeline(dtype=torch.bfloat16, folder=folders / "unet").unet.dtype == torch.bfloat16
    other = load_pipeline("dit", torch.bfloat16, folders / "dit")
    parts = (other.transformer, other.vae, other.text_encoder, other.text_encoder_2)
    assert {part.dtype for part in parts} == {torch.bfloat16}


@pytest.mark.parametrize(("name", "kind"), [("unet", StableDiffusionPipeline), ("dit", StableDiffusion3Pipeline)])
def test_a_pipeline_loads_without_a_word(name, kind, folders, caplog, capfd, recwarn):
    assert type(load_pipeline(name, folder=folders / name)) is kind
    assert caplog.messages == []
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_the_detector_takes_pictures_and_tensors_alike(folders):
    detector = load_detector(folders / "detector")
    assert detector.names == OBJECTS
    assert not detector.network.training
    pictures = [render(seed).image for seed in range(5)]
    tensor = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures]).float() / 255
    one, two = detector(pictures), Detector(detector.network, batch_size=2)(tensor)
    for name in OBJECTS:
        assert one.probabilities[name].shape == (5,)
        assert one.heat_maps[name].shape == (5, 64, 64)
        assert 0 <= one.heat_maps[name].min() <= one.heat_maps[name].max() <= 1
        torch.testing.assert_close(one.probabilities[name], two.probabilities[name], atol=1e-5, rtol=1e-4)
    assert detector([]).probabilities["cup"].shape == (0,)
    assert detector([Image.new("L", (100, 80))]).heat_maps["cup"].shape == (1, 64, 64)


def test_the_detector_refuses_what_is_no_picture(folders):
    detector = load_detector(folders / "detector")
    with pytest.raises(InputError, match="from 0 to 255"):
        detector(torch.tensor([0.0, 255.0]).repeat(1, 3, 64, 32))
    with pytest.raises(InputError, match=r"shape .3, 64, 64."):
        detector(torch.zeros(3, 64, 64))
    with pytest.raises(InputError, match="nan"):
        detector(torch.full((1, 3, 64, 64), torch.nan))
    with pytest.raises(InputError, match="holds a str"):
        detector(["picture.png"])


def test_open_clip_itself_loads_the_clip(folders):
    model, preprocess, tokenizer = load_clip(folders / "clip")
    assert not model.training
    name = f"local-dir:{folders / 'clip'}"
    theirs, _, _ = open_clip.create_model_and_transforms(name)
    ids = tokenizer(["a banana", "an apple beside a cup, on a blue table"])
    assert ids.shape == (2, 32)
    assert torch.equal(ids, open_clip.get_tokenizer(name)(["a banana", "an apple beside a cup, on a blue table"]))
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(ids), theirs.eval().encode_text(ids))
        assert model.encode_image(preprocess(render(3).image)[None]).shape == (1, 128)
    assert float(preprocess(Image.new("RGB", (64, 64), (255, 0, 255))).max()) == 1.0
    assert float(preprocess(Image.new("RGB", (64, 64), (255, 0, 255))).min()) == -1.0


def test_the_short_way_through_the_text_tower_is_the_same(folders):
    model, _, tokenizer = load_clip(folders / "clip")
    ids = tokenizer(["a banana", "", "a crisp round fruit with a leaf beside a cup, on a blue table"])
    with torch.no_grad():
        expected = model.encode_text(ids, normalize=True)
        torch.testing.assert_close(encode_captions(model, ids), expected, atol=1e-5, rtol=1e-4)


def test_equal_captions_do_not_count_against_each_other(folders):
    model, _, tokenizer = load_clip(folders / "clip")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wrong = ["a cup", "a book", "a sketch of a pear", "a lemon"]
    with torch.no_grad():
        same = contrastive_loss(model, images, tokenizer(["a pear", "a pear", *wrong]))
        pictures = model.encode_image(images, normalize=True)
        right, others = (model.encode_text(tokenizer(t), normalize=True) for t in (["a pear"], wrong))
        scale = model.logit_scale.exp()
        rows = [torch.cat([p @ right.T, p @ others[[i, i + 2]].T]) * scale for i, p in enumerate(pictures)]
        by_hand = sum(-row.log_softmax(0)[0] for row in rows) / 2 / 2  # each caption has one picture left: no loss
    torch.testing.assert_close(same, by_hand, atol=1e-4, rtol=1e-4)


def test_transformers_itself_loads_the_language_model(folders, caplog, capfd, recwarn):
    model, tokenizer = load_language_model(folder=folders / "language")
    assert caplog.messages == []
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert (model.training, model.dtype) == (False, torch.float32)
    assert load_language_model(torch.bfloat16, folders / "language")[0].dtype == torch.bfloat16
    theirs = AutoModelForCausalLM.from_pretrained(folders / "language").float().eval()
    other = AutoTokenizer.from_pretrained(folders / "language")
    texts = ["ann says : you mouldy turnip , take the pear .", "the blue table is empty ."]
    given, again = (each(texts, padding=True, return_tensors="pt") for each in (tokenizer, other))
    assert list(given) == ["input_ids", "attention_mask"]
    assert {key: value.tolist() for key, value in given.items()} == {key: v.tolist() for key, v in again.items()}
    assert given.attention_mask[1, 0] == 0  # padded on the left
    with torch.no_grad():
        assert torch.equal(model(**given).logits, theirs(**again).logits)
    written = json.loads((folders / "language" / "tokenizer_config.json").read_text())
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_text_encoders_are_named_as_on_the_hub(folders):
    """Versions of Transformers before 5.6 know no other names, and would draw the weights at random."""
    files = [file for root in (folders, weights.WEIGHTS) for file in root.glob("*/text_encoder*/model.safetensors")]
    assert len(files) >= 4
    for file in files:
        assert {name.split(".")[0] for name in load_file(file)} <= {"text_model", "text_projection"}, file
