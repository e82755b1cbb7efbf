"""The training loop: stopping and going on change nothing, Ctrl-C keeps the last state."""

import signal

import pytest
import torch
from torch import nn

from dsas_diffusion.errors import InputError
from dsas_diffusion.orchard.training.loop import Trainer, checkpoints, training_folder


def build(folder, steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
    return model, Trainer(model, folder, steps, 1e-2, ema=0.9)


def loss_of(model):
    def loss(generator):
        x = torch.randn(16, 6, generator=generator)
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    return loss


def weights(model, trainer):
    return [*model.state_dict().values(), *trainer.average]


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    whole, trainer = build(tmp_path / "whole", 30)
    trainer.run(loss_of(whole), 16, "whole")
    expected = weights(whole, trainer)

    stopped, trainer = build(tmp_path / "parts", 30)

    inner = loss_of(stopped)

    def loss(generator):
        if trainer.step == 11:
            signal.raise_signal(signal.SIGINT)
        return inner(generator)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(loss, 16, "parts")
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoints(tmp_path) == [tmp_path / "parts" / "state.pt", tmp_path / "whole" / "state.pt"]

    resumed, again = build(tmp_path / "parts", 30)
    torch.nn.init.zeros_(resumed[0].weight)  # whatever it was, the checkpoint replaces it
    assert again.resume()
    assert again.step == 12  # the step under way was finished
    again.run(loss_of(resumed), 16, "parts")
    for one, two in zip(weights(resumed, again), expected, strict=True):
        assert torch.equal(one, two)


def test_it_learns_and_lends_its_average(tmp_path):
    model, trainer = build(tmp_path, 300)
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(9))

    @torch.no_grad()
    def error():
        return float((model(x) - x.sum(1, keepdim=True)).square().mean())

    first = error()
    trainer.run(loss_of(model), 16, "learn")
    assert error() < 0.1 * first
    own = model[0].weight.clone()
    with trainer.averaged() as lent:
        assert torch.equal(lent[0].weight, trainer.average[0])
        assert not torch.equal(lent[0].weight, own)
    assert torch.equal(model[0].weight, own)


def test_a_broken_checkpoint_is_told(tmp_path):
    _, trainer = build(tmp_path, 5)
    assert not trainer.resume()
    (tmp_path / "state.pt").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"state\.pt can't be read.*Delete it"):
        trainer.resume()


def test_a_checkpoint_of_another_model_is_told(tmp_path):
    _, trainer = build(tmp_path, 5)
    trainer.save()
    other = Trainer(nn.Linear(2, 2), tmp_path, 5, 1e-2)
    with pytest.raises(InputError, match="can't be read for this model"):
        other.resume()


def test_what_can_be_refused_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="steps must be at least 1"):
        Trainer(nn.Linear(1, 1), tmp_path, 0, 1e-2)
    with pytest.raises(InputError, match="device='warp'"):
        training_folder(str(tmp_path / "new"), "warp", resume=False)
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "state.pt").touch()
    with pytest.raises(InputError, match="Add --resume"):
        training_folder(str(tmp_path / "old"), "cpu", resume=False)
    assert training_folder(str(tmp_path / "old"), "cpu", resume=True) == tmp_path / "old"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        training_folder(str(tmp_path / "file"), "cpu", resume=False)
