"""The DiT's training: it sees what the finished pipeline sees, goes on where it stopped, and ends in that pipeline."""

import signal

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.models.attention_processor import JointAttnProcessor2_0
from torch.nn import functional as F
from untrained import untrained_dit, untrained_unet

from dsas_diffusion.cli import main
from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard import load_pipeline, weight_files
from dsas_diffusion.orchard.training import dit
from dsas_diffusion.orchard.training.denoising import committed_pipeline, save_pipeline
from dsas_diffusion.orchard.training.text_encoder import tokenize

PROMPTS = ["a banana", "a red apple beside a cup, on a blue table", ""]


@pytest.fixture(scope="module")
def pipe():
    return untrained_dit()


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Committed weights with random numbers."""
    folder = tmp_path / "weights"
    save_pipeline(untrained_dit(seed=1), folder / "dit")
    save_pipeline(untrained_unet(), folder / "unet")
    monkeypatch.setattr(weight_files, "WEIGHTS", folder)
    return folder


def encoded(pipe, blanks):
    told = pipe.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False, max_sequence_length=blanks)
    return told[0].detach(), told[2].detach()


def test_the_text_is_what_the_pipeline_hands_in(pipe):
    states, pooled = encoded(pipe, dit.BLANKS)
    ids = tokenize(pipe.tokenizer, PROMPTS)
    with torch.no_grad():
        ours, ours_pooled = dit.text_states([pipe.text_encoder, pipe.text_encoder_2], ids)
    assert ours.shape == (3, 32, sum(dit.TEXT_WIDTHS))
    torch.testing.assert_close(ours, states[:, :32])
    torch.testing.assert_close(ours_pooled, pooled)
    assert states.shape[1] == 32 + dit.BLANKS
    assert not states[:, 32:].any()


@pytest.mark.parametrize("count", [dit.BLANKS, 7])
def test_one_blank_has_the_effect_of_many(count):
    pipe = untrained_dit()
    transformer = pipe.transformer
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in transformer.parameters():  # also those that begin as zeros and ones
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    states, pooled = encoded(pipe, count)
    rest = {
        "hidden_states": torch.randn(3, 8, 16, 16, generator=generator),
        "timestep": torch.tensor([20.0, 500.0, 1000.0]),
        "pooled_projections": pooled,
        "return_dict": False,
    }
    with torch.no_grad():
        [expected] = transformer(encoder_hidden_states=states, **rest)
        blanks = dit.BlanksAsOne()
        transformer.set_attn_processor(blanks)
        shown = F.pad(states[:, :32], (0, 0, 0, 1))
        blanks.count.fill_(count)
        [found] = transformer(encoder_hidden_states=shown, **rest)
        blanks.count.fill_(1)
        [other] = transformer(encoder_hidden_states=shown, **rest)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert (other - expected).abs().max() > 1e-3 * expected.abs().max()


def trained(pipe, folder, **settings):
    """Two steps on six random latents."""
    generator = torch.Generator().manual_seed(3)
    ids = tokenize(pipe.tokenizer, PROMPTS * 2)
    torch.manual_seed(2)
    return dit.train_transformer(
        torch.randn(6, 8, 16, 16, generator=generator).half(), ids, [pipe.text_encoder, pipe.text_encoder_2],
        pipe.tokenizer, folder, **{"steps": 2, "batch_size": 4, "learning_rate": 1e-2, "device": "cpu", **settings},
    )  # fmt: skip


def test_an_interrupted_training_ends_as_an_uninterrupted_one(pipe, tmp_path):
    whole = trained(pipe, tmp_path / "whole")
    assert not whole.training
    assert all(type(processor) is JointAttnProcessor2_0 for processor in whole.attn_processors.values())
    torch.manual_seed(2)
    begun = dit.build_transformer().state_dict()
    assert not torch.equal(whole.state_dict()["proj_out.weight"], begun["proj_out.weight"])

    stop = pipe.text_encoder.register_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trained(pipe, tmp_path / "parts")
    stop.remove()
    calls = []
    count = pipe.text_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    resumed = trained(pipe, tmp_path / "parts")
    count.remove()
    assert len(calls) == 1  # the first step was not taken again
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_training_begins_with_the_weights_that_it_gets(pipe, tmp_path):
    given = pipe.transformer.state_dict()
    same = trained(pipe, tmp_path, weights=given, learning_rate=0.0)
    for name, value in same.state_dict().items():
        assert torch.equal(value, given[name]), name


def test_the_saved_pipeline_draws_with_the_class_defaults(pipe, tmp_path, caplog, capfd):
    save_pipeline(pipe, tmp_path / "pipeline")
    assert pipe.transformer.dtype == torch.float32
    assert (caplog.messages, capfd.readouterr()) == ([], ("", ""))
    loaded = StableDiffusion3Pipeline.from_pretrained(
        tmp_path / "pipeline", text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )
    loaded.set_progress_bar_config(disable=True)
    latents = []
    [picture] = loaded(
        "a banana",
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        callback_on_step_end=lambda pipe, step, time, tensors: latents.append(tensors["latents"]) or {},
    ).images
    assert len(latents) == 28
    assert torch.isfinite(latents[-1]).all()
    assert picture.shape == (64, 64, 3)
    assert np.isfinite(picture).all()
    assert picture.std() > 0
    assert "_name_or_path" not in (tmp_path / "pipeline" / "vae" / "config.json").read_text()


def test_a_run_begins_with_the_committed_weights_only_if_asked(weights, tmp_path):
    run = tmp_path / "run"
    assert committed_pipeline("dit", run, resume=False) is None
    assert not run.exists()
    taken = committed_pipeline("dit", run, resume=True)
    assert type(taken) is StableDiffusion3Pipeline

    def has_the_taken_weights(pipe):
        named = pipe.transformer.state_dict()
        return all(torch.equal(named[name], value) for name, value in taken.transformer.state_dict().items())

    save_pipeline(untrained_dit(seed=2), weights / "dit")  # committed again while the run is under way
    assert has_the_taken_weights(committed_pipeline("dit", run, resume=True))
    assert not has_the_taken_weights(load_pipeline("dit"))


def test_a_run_with_checkpoints_of_its_own_needs_no_committed_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_files, "WEIGHTS", tmp_path / "none")
    with pytest.raises(InputError, match="Orchard's dit are not there"):
        committed_pipeline("dit", tmp_path / "run", resume=True)
    (tmp_path / "run" / "transformer").mkdir(parents=True)
    (tmp_path / "run" / "transformer" / "state.pt").touch()
    assert committed_pipeline("dit", tmp_path / "run", resume=True) is None


@pytest.mark.full
def test_the_command_goes_on_from_the_committed_weights(weights, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--steps", "1", "--scenes", "8", "--batch-size", "4", "--learning-rate", "0", "--resume"]
    assert main(["orchard", "train", "dit", "--out", str(out), *arguments]) == 0
    assert f"wrote {out / 'pipeline'}" in capsys.readouterr().out
    pipe, begun = load_pipeline("dit", folder=out / "pipeline"), load_pipeline("dit")
    for part in ("transformer", "text_encoder", "text_encoder_2"):
        expected = getattr(begun, part).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in getattr(pipe, part).state_dict().items()), part
    autoencoder = load_pipeline("unet").vae.state_dict()
    assert all(torch.equal(value, autoencoder[name]) for name, value in pipe.vae.state_dict().items())
