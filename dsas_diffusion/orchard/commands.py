"""`dsas orchard render`, `dsas orchard questions` and `dsas orchard check`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..files import atomic_write
from .world import LOOKS, OBJECTS, SEEDS, check_name

Model = Literal["scenes", "detector", "clip", "unet", "dit", "language"]
#: The questions as a task of lm-eval.
TASK = """\
task: orchard_questions
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
_MODELS: tuple[Model, ...] = ("scenes", "detector", "clip", "unet", "dit", "language")


def render(
    out: str = "outputs/orchard/scenes",
    n: int = 40,
    seed: int = 0,
    split: str = "tuning",
    objects: list[str] | None = None,
    look: str | None = None,
) -> None:
    """Draw scenes: a dataset on disk and a contact sheet with the captions.

    Args:
        out: Folder to write; it also loads as a Hugging Face imagefolder. An earlier dataset there is replaced.
        n: How many scenes.
        seed: Which of the split's scenes comes first.
        split: The range of scenes: generator-train, detector-train, clip-train, tuning, evaluation or test.
        objects: The objects that may appear, such as `[banana,cup]`; by default all ten.
        look: photo, blurry or sketch for every scene; by default Orchard's mix.

    Raises:
        InputError: If an object, look or split is unknown, or the folder can't be written.
    """
    from .dataset import scenes, write_dataset

    check_name("split", split, tuple(SEEDS))
    if n < 1 or seed < 0 or seed + n > len(SEEDS[split]):
        raise InputError(
            f"n={n} scenes from seed={seed} on don't lie in the split {split!r}, which has {len(SEEDS[split]):,}. "
            "Take n of at least 1 and a seed of at least 0 that leaves room for them."
        )
    chosen = _objects(objects)
    if look is not None:
        check_name("look", look, LOOKS)
    first = SEEDS[split].start + seed
    write_dataset(scenes(range(first, first + n), chosen, look), n, Path(out))
    print(f"wrote {n} scenes to {out}; look at {Path(out) / 'sheet.png'}")


def _objects(objects: Sequence[str] | None) -> tuple[str, ...]:
    if objects is None:
        return OBJECTS
    if not objects:
        raise InputError(f"objects is empty. Give at least one of: {', '.join(OBJECTS)}.")
    return tuple(dict.fromkeys(check_name("object", name, OBJECTS) for name in objects))


def questions(out: str = "outputs/orchard/questions.jsonl", n: int = 1000, seed: int = 0, split: str = "test") -> None:
    """Write four-way questions whose combinations the language model has not been trained on, as a task of lm-eval.

    One JSON object a line: `question`, the `prompt` that the model reads, four `choices`, of which it says one, the
    index of the right one as `answer`, and its `kind`. The task file beside it, with the ending .yaml, is what `dsas
    evaluate text --tasks` and lm-eval take.

    Args:
        out: The file, which ends in .jsonl.
        n: How many questions.
        seed: Which of the split's questions comes first.
        split: The range of questions: tuning, evaluation or test.

    Raises:
        InputError: If the split is unknown or has fewer questions, or a file has another ending or can't be written.
    """
    from json import dumps

    from .text.questions import four_way_questions

    if Path(out).suffix != ".jsonl":
        raise InputError(f"out is {out!r}, but must end in .jsonl; the task file beside it ends in .yaml.")
    asked = four_way_questions(n, split, seed)
    atomic_write(out, "".join(dumps(question.as_record()) + "\n" for question in asked))
    task = atomic_write(Path(out).with_suffix(".yaml"), TASK.format(file=dumps(str(Path(out).resolve()))))
    print(f"wrote {n} questions to {out}, and the task file {task}")


def check(
    json: str | None = None,
    only: Model | None = None,
    quick: bool = False,
    batch_size: int = 25,
    samples: str | None = None,
    write_cards: bool = False,
) -> int:
    """Measure every figure that Orchard promises, from the committed weights, beside what is asked.

    Scenes, detector, CLIP, U-Net, DiT and language model, on the evaluation seeds; U-Net and DiT with their pipeline's
    own call defaults. About a quarter of an hour on two cores, four minutes with --quick.

    Args:
        json: File for the figures, with those of every object and look. With --only, the figures of other models that
            are in it stay.
        only: Measure this one alone: scenes, detector, clip, unet, dit or language.
        quick: A quarter of the scenes and a fifth of the prompts: faster, and less sure.
        batch_size: Pictures that a pipeline draws at a time.
        samples: File for a sheet of sixteen pictures at four times their size: of the DiT with --only dit, else of the
            U-Net.
        write_cards: Write the figures into the model cards beside the weights.

    Returns:
        The exit status: 0 if every figure is what is asked, 1 if one is missed.

    Raises:
        InputError: If weights are missing or broken, or a file can't be written.
    """
    from .check import FULL, QUICK, measure, report, table

    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, but is {batch_size}.")
    started = time.monotonic()
    scenes, prompts = QUICK if quick else FULL
    figures = measure((only,) if only else _MODELS, scenes, prompts, batch_size)
    print(table(figures))
    settings = {"scenes": scenes, "prompts": prompts, "batch_size": batch_size, "quick": quick}
    if json:
        atomic_write(json, report(figures, settings, started, Path(json) if only else None))
        print(f"wrote {json}")
    if samples:
        from .samples import write_samples

        write_samples(Path(samples), "dit" if only == "dit" else "unet")
        print(f"wrote {samples}")
    if write_cards:
        from . import cards

        cards.write_cards(figures)
        print("wrote the model cards")
    missed = [figure for figure in figures if not figure.met]
    if missed:
        print(f"{len(missed)} of {len(figures)} figures missed.")
    return 1 if missed else 0
