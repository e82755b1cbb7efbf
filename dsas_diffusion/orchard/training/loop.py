"""The training loop that Orchard's models share: schedule, moving average, checkpoints, progress."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ...errors import InputError
from ...files import writing
from ...words import first_line

CHECKPOINT_SECONDS = 180.0
_STATE = "state.pt"
M = TypeVar("M", bound=nn.Module)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints that runs left in a folder or below it."""
    return sorted(folder.rglob(_STATE))


def training_folder(out: str, device: str, resume: bool) -> Path:
    """Make a run's folder, or refuse before anything is computed.

    Args:
        out: The folder.
        device: Where the run will compute.
        resume: Whether an earlier run may be there.

    Returns:
        The folder.

    Raises:
        InputError: If it holds another run and ``resume`` is not set, if it can't be written, or if the device is not
            there.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={device!r} can't be used here ({first_line(error)}). Take --device cpu, or cuda "
            "where there is one."
        ) from error
    folder = Path(out)
    if folder.is_dir() and any(folder.iterdir()) and not resume:
        raise InputError(
            f"{folder} already holds a training run. Add --resume to go on with it, or name another --out."
        )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


class Trainer:
    """Runs optimiser steps on one model, with everything needed to stop and go on.

    The learning rate warms up over 200 steps, stays, and falls along a cosine to 2 % over the last ``decay`` share of
    the steps, so that a run can be lengthened or shortened while it is under way (``--resume --steps N``).

    Args:
        model: The module to train; moved to nothing, trained where it is.
        folder: Where ``state.pt`` is kept.
        steps: Optimiser steps in all.
        learning_rate: The highest learning rate of AdamW.
        weight_decay: AdamW's weight decay.
        ema: Decay of the moving average of the weights, warmed up; 0 for none.
        decay: Share of the steps over which the learning rate falls.
        parameters: What to train, where it is not the whole model.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: Path,
        steps: int,
        learning_rate: float,
        *,
        weight_decay: float = 0.01,
        ema: float = 0.999,
        decay: float = 0.35,
        parameters: list[nn.Parameter] | None = None,
    ) -> None:
        if steps < 1:
            raise InputError(f"steps must be at least 1, but is {steps}.")
        self.model, self.folder, self.steps, self.learning_rate = model, folder, steps, learning_rate
        self.ema_decay, self.decay = ema, decay
        self.trained = parameters if parameters is not None else list(model.parameters())
        self.optimizer = torch.optim.AdamW(
            self.trained, learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
        )
        self.average = [p.detach().clone() for p in self.trained]
        self.step = 0

    def resume(self) -> bool:
        """Go on from the last checkpoint in the folder, if there is one; say whether there was."""
        path = self.folder / _STATE
        if not path.exists():
            return False
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:
            raise InputError(
                f"The checkpoint {path} can't be read for this model ({error.__class__.__name__}: {str(error)[:200]}). "
                "Delete it to start again, or go on with the version of the program that wrote it."
            ) from error
        for kept, loaded in zip(self.average, state["average"], strict=True):
            kept.copy_(loaded)
        self.step = state["step"]
        return True

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{_STATE}.partial"
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
        }
        torch.save(state, partial)
        os.replace(partial, self.folder / _STATE)

    def run(self, loss_of_step: Callable[[torch.Generator], torch.Tensor], samples_per_step: int, name: str) -> None:
        """Train until the last step. Ctrl-C keeps the last state and raises KeyboardInterrupt.

        Args:
            loss_of_step: Draws a batch with the generator it gets and returns its loss. The generator depends on the
                step alone, so an interrupted run goes on as if it had not been.
            samples_per_step: For the speed on display.
            name: Begins every line of progress.
        """
        report = _Progress(name, self.step, self.steps, samples_per_step)
        saved = time.monotonic()
        self.model.train()
        with _interruptible() as interrupted:
            while self.step < self.steps:
                loss = self._one_step(loss_of_step(torch.Generator().manual_seed(self.step * 7919 + 1)))
                report(self.step, loss)
                if interrupted():
                    self.save()
                    print(f"{name}: stopped at step {self.step}; go on with --resume", file=sys.stderr)
                    raise KeyboardInterrupt
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def _one_step(self, loss: torch.Tensor) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * self._rate()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(self.ema_decay, (1 + self.step) / (10 + self.step)) if self.ema_decay else 0.0
        torch._foreach_lerp_(self.average, [p.detach() for p in self.trained], 1 - decay)
        return loss.item()

    def _rate(self) -> float:
        warm = min(1.0, (self.step + 1) / 200)
        falling = (self.step / self.steps - (1 - self.decay)) / self.decay
        return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * max(0.0, falling))))

    def finished(self, build: Callable[[], M]) -> M:
        """Give a new model with the averaged weights, on the processor and in evaluation mode.

        Args:
            build: Makes one of the trained model's kind.
        """
        with self.averaged():
            kept = {key: value.cpu().clone() for key, value in self.model.state_dict().items()}
        model = build()
        model.load_state_dict(kept)
        return model.eval()

    @contextmanager
    def averaged(self) -> Generator[nn.Module]:
        """Put the moving average into the model for as long as the context lasts."""
        now = [p.detach().clone() for p in self.trained]
        with torch.no_grad():
            for p, average in zip(self.trained, self.average, strict=True):
                p.copy_(average)
        self.model.eval()
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for p, kept in zip(self.trained, now, strict=True):
                    p.copy_(kept)


@contextmanager
def _interruptible() -> Generator[Callable[[], bool]]:
    """Let a step finish before Ctrl-C takes effect."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


class _Progress:
    """One line every ten seconds: step, mean loss since the last line, samples a second, time left."""

    def __init__(self, name: str, step: int, steps: int, samples_per_step: int) -> None:
        self.name, self.steps, self.samples_per_step = name, steps, samples_per_step
        self.since, self.at, self.losses = step, time.monotonic(), []

    def __call__(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        now = time.monotonic()
        if now - self.at < 10 and step < self.steps:
            return
        rate = (step - self.since) / max(now - self.at, 1e-9)
        left = (self.steps - step) / rate
        print(
            f"{self.name}: step {step}/{self.steps}  loss {sum(self.losses) / len(self.losses):.4f}  "
            f"{rate * self.samples_per_step:.0f} samples/s  {int(left // 60)} min {int(left % 60):02d} s left",
            flush=True,
        )
        self.since, self.at, self.losses = step, now, []
