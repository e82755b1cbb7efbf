"""Callbacks, interrupts, exceptions, threads, and pipelines that share a denoiser."""

import threading
from collections.abc import Callable

import pytest
import torch
from tiny import STRENGTH
from works import works

import dsas_diffusion as dsas
from compatibility.case import PROMPTS, QUIET, Case, assert_clean, die, pictures_of

pytestmark = QUIET


@works("Calls", "`set_strength` from `callback_on_step_end`", "counts from the next step on", "sd flux sd3")
def test_strength_from_a_callback(name):
    case = Case(name, steps=3)
    plain = case.draw()
    seen: dict[str, list[torch.Tensor]] = {"whole": [], "later": []}

    def look(which: str, attachment) -> Callable:
        def callback(pipe, step, timestep, given):
            seen[which].append(given["latents"].clone())
            if which == "later":
                attachment.set_strength(STRENGTH if step == 0 else 0.0)
            return {}

        return callback

    with case.steerer.attached(case.pipe, 0.0) as attachment:
        assert torch.equal(case.draw(callback_on_step_end=look("whole", attachment)), plain)
        case.draw(callback_on_step_end=look("later", attachment))
    same = [torch.equal(*both) for both in zip(*seen.values(), strict=True)]
    assert same == [True, False, False]


@works(
    "Calls",
    "`interrupt` from a callback, and the same pipeline afterwards",
    "the next run starts afresh",
    "sd sd3 flux",
)
def test_interrupts(name):
    case = Case(name, steps=4)

    def interrupt(pipe, step, timestep, given):
        pipe._interrupt = step == 1
        return {}

    plain, steered = pictures_of(name, steps=4)
    with case.steerer.attached(case.pipe):
        assert not torch.equal(case.draw(callback_on_step_end=interrupt), steered)
        assert torch.equal(case.draw(), steered)
    assert torch.equal(case.draw(), plain)


@works("Calls", "One pipeline, used again after an exception", "the next run starts afresh, steered or detached",
       "sd flux sdxl sd3 zimage lumina2")  # fmt: skip
def test_used_again_after_an_exception(name):
    case = Case(name)
    plain, steered = pictures_of(name)
    with case.steerer.attached(case.pipe):
        with pytest.raises(MemoryError):
            case.draw(["third", *PROMPTS], callback_on_step_end=die)
        assert torch.equal(case.draw(), steered)
    with pytest.raises(MemoryError), case.steerer.attached(case.pipe):
        case.draw(callback_on_step_end=die)
    assert_clean(case.pipe)
    assert torch.equal(case.draw(), plain)


@works("Calls", "Two threads, each with its own pipeline and one steerer", "the pictures of one thread", "sd flux")
def test_two_threads(name):
    plain, steered = pictures_of(name, steps=4)
    cases, start = [Case(name, steps=4) for _ in range(2)], threading.Barrier(2)
    found: dict[int, list[torch.Tensor]] = {0: [], 1: []}

    def work(number: int) -> None:
        start.wait()
        for _ in range(3):
            with cases[number].steerer.attached(cases[number].pipe, STRENGTH * number):
                found[number].append(cases[number].draw())

    threads = [threading.Thread(target=work, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [torch.equal(picture, plain) for picture in found[0]] == [True] * 3
    assert [torch.equal(picture, steered) for picture in found[1]] == [True] * 3


@works("Calls", "`from_pipe`: two pipelines that share a denoiser",
       "attach to the one that draws; a run of the other is an error", "sd sd3")  # fmt: skip
def test_pipelines_that_share_a_denoiser(name):
    case = Case(name)
    plain, steered = pictures_of(name)
    first = case.pipe
    case.pipe = type(first)(**first.components)
    case.pipe.set_progress_bar_config(disable=True)
    with case.steerer.attached(first), pytest.raises(dsas.InputError, match="runs for another pipeline"):
        case.draw()
    assert_clean(first)
    assert torch.equal(case.draw(), plain)
    with case.steerer.attached(case.pipe):
        assert torch.equal(case.draw(), steered)
