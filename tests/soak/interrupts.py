"""Ctrl-C at random moments of a fit and of a sweep: the pipeline is clean, and the sweep ends with the same table.

python tests/soak/interrupts.py --count 100
"""

import argparse
import contextlib
import io
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from mutated_folders import untouched
from small_sweep import PLAN
from tiny import GENERATION, draw, tiny_concept, tiny_pipeline

import dsas_diffusion as dsas
from dsas_diffusion.cli import main as dsas_command

Work = Callable[[], Any]


def interrupted(work: Work, after: float) -> bool:
    """Run something, and press Ctrl-C after some seconds; whether it came before the end."""
    timer = threading.Timer(after, signal.raise_signal, [signal.SIGINT])
    timer.start()
    try:
        work()
        return False
    except KeyboardInterrupt:
        return True
    finally:
        timer.cancel()
        with contextlib.suppress(KeyboardInterrupt):
            timer.join()  # it may be at it just now


def seconds(work: Work) -> float:
    """How long something takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def of_fits(count: int, choice: random.Random) -> int:
    """Interrupt fits of a tiny pipeline; how many were."""
    pipe, concept = tiny_pipeline(), tiny_concept()

    def fit() -> None:
        dsas.fit(pipe, concept, tau=0.5, generation=GENERATION, progress=False)

    before, state = draw(pipe, ["zzz zuzu z"], **GENERATION), torch.random.get_rng_state()
    fit()
    whole = min(seconds(fit) for _ in range(3))
    stopped = 0
    for number in range(count):
        stopped += interrupted(fit, choice.uniform(0, whole))
        if not untouched(pipe) or any(m._forward_hooks or m._forward_pre_hooks for m in pipe.unet.modules()):
            sys.exit(f"fit {number}: a hook stayed behind.")
    if not torch.equal(draw(pipe, ["zzz zuzu z"], **GENERATION), before):
        sys.exit("The pipeline draws something else than before the fits.")
    if not torch.equal(torch.random.get_rng_state(), state):
        sys.exit("The fits touched the global random state.")
    return stopped


def of_sweeps(count: int, choice: random.Random, place: Path) -> int:
    """Interrupt a sweep again and again, beginning anew when it is finished; how often it was."""
    plan = place / "plan.yaml"
    plan.write_text(PLAN)

    def sweep(out: Path) -> int:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return dsas_command(["sweep", "--plan", str(plan), "--out", str(out), "--device", "cpu"])

    def rows(out: Path) -> list[bytes]:
        return [path.read_bytes() for path in sorted((out / "rows").rglob("*.jsonl"))]

    whole = seconds(lambda: sweep(place / "whole"))
    stopped = begun = 0
    while stopped < count:
        begun += 1
        out = place / f"{begun}"
        while stopped < count:
            status: list[int] = []
            came = interrupted(lambda: status.append(sweep(out)), choice.uniform(0, whole / 3))  # noqa: B023
            if not came and status == [0]:
                break  # it was finished before
            stopped += 1
        if sweep(out) or rows(out) != rows(place / "whole"):
            sys.exit(f"sweep {begun}: another table than that of the sweep that nobody stopped.")
    return stopped


def main() -> None:
    """Interrupt, look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    choice, began = random.Random(options.seed), time.monotonic()
    fits = of_fits(options.count, choice)
    with TemporaryDirectory() as place:
        sweeps = of_sweeps(options.count, choice, Path(place))
    print(
        f"{fits} of {options.count} fits interrupted: no hook stayed, pictures and random state as before. Sweeps "
        f"interrupted {sweeps} times: the same tables in the end. {time.monotonic() - began:.0f} s."
    )


if __name__ == "__main__":
    main()
