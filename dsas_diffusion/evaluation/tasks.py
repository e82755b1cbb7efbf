"""Benchmarks of EleutherAI's lm-evaluation-harness, run in process on the model as it is, steered or not."""

import hashlib
import logging
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import PreTrainedModel

from ..backends.language import check_tokenizer
from ..errors import InputError
from ..files import read_text
from ..prompt_set import did_you_mean
from ..words import first_line

_SUFFIXES: Final = (".yaml", ".yml")
#: Places of local data in a task file.
_LOCAL: Final = ("json", "csv", "parquet", "text", "arrow")


@dataclass(frozen=True)
class TaskFigures:
    """What a model reaches in one task.

    Args:
        results: Metric → value, as lm-eval reports it: `"acc,none"`, `"acc_stderr,none"` …
        each: Metric → one value a question, in the task's order; those alone whose questions have a number.
    """

    results: Mapping[str, float]
    each: Mapping[str, Sequence[float]]


def check_tasks(names: Sequence[str]) -> dict[str, str]:
    """Refuse tasks that are not there, before anything runs; their questions are loaded, and so fetched, as a trial.

    Args:
        names: Names as `lm-eval ls tasks` lists them, such as `"mmlu"`, groups and tags included; or task files
            (`.yaml`), as lm-eval takes them.

    Returns:
        The single tasks that they stand for, each with its `output_type`, such as `"multiple_choice"`.

    Raises:
        InputError: If lm-eval is not installed, a name is unknown, a file or its data don't exist or are broken, or two
            of them hold the same task.
    """
    if not names:
        return {}
    with _quiet():
        return {name: str(task.OUTPUT_TYPE) for name, task in _loaded(names).items()}


def digest_of(name: str) -> str:
    """Tell a task and another state of it apart.

    Args:
        name: As for :func:`check_tasks`, checked.

    Returns:
        The SHA-256 of a task file and its local data; of a name, lm-eval's version.
    """
    if not _is_file(name):
        return f"lm-eval {version('lm-eval')}"
    digest = hashlib.sha256()
    for path in (Path(name), *_local_data(Path(name), _task_file(Path(name)))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run_tasks(
    model: PreTrainedModel,
    tokenizer: Any,
    names: Sequence[str],
    *,
    batch_size: int = 16,
    shots: int | None = None,
    limit: int | None = None,
    chat: bool = False,
    progress: bool = True,
) -> dict[str, TaskFigures]:
    """Ask a model the questions of tasks, steered by whatever is attached to it.

    The global random state is as it was.

    Args:
        model: The model. A steerer whose tokens are the continuation's steers only tasks that generate: in all
            others a text is all prompt.
        tokenizer: Its tokenizer.
        names: As for :func:`check_tasks`.
        batch_size: Texts at a time.
        shots: Answered questions before each one; `None` for what the task says. A task that says 0 keeps it.
        limit: The first so many questions of each task; `None` for all.
        chat: Put each question into the tokenizer's chat template.
        progress: Show lm-eval's bar.

    Returns:
        Task → figures. A group stands as its single tasks.

    Raises:
        InputError: As for :func:`check_tasks`; if there is no tokenizer, pad token or chat template; or, before the
            model runs, if a question with its answered ones is longer than the model reads.
    """
    check_tokenizer(model, tokenizer, chat)
    with _quiet(progress), _random_state_kept(model):
        loaded = _loaded(names)
        from lm_eval import simple_evaluate

        side = tokenizer.padding_side
        try:
            found: Any = simple_evaluate(
                model=_refusing()(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
                tasks=list(loaded.values()),
                num_fewshot=shots,
                limit=limit,
                bootstrap_iters=0,
                apply_chat_template=chat,
                task_manager=_manager_for(names),
            )
        finally:
            tokenizer.padding_side = side
    return {name: _figures(found["results"][name], found["samples"][name]) for name in loaded}


@cache
def _refusing() -> Any:
    """Give lm-eval's model, but that a text longer than the context is refused, not cut off with a warning."""
    from lm_eval.models.huggingface import HFLM

    class Refusing(HFLM):
        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            # The last token is told, not read.
            self.refuse_longer([("".join(request.args), -1) for request in requests])
            return super().loglikelihood(requests, disable_tqdm)

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            asked = [(request.args[0], request.args[1].get("max_gen_toks", self.max_gen_toks)) for request in requests]
            self.refuse_longer(asked)
            return super().generate_until(requests, disable_tqdm)

        def refuse_longer(self, asked: list[tuple[str, int]]) -> None:
            for text, more in asked if self.backend == "causal" else []:
                length = len(self.tok_encode(text))
                if length + more > self.max_length:
                    raise InputError(
                        f"The question {text[-60:]!r} of a task has {length} tokens, answered ones before it included"
                        f"{f', and {more} are to follow' if more > 0 else ''}, but the model reads {self.max_length}. "
                        "Take fewer answered ones (shots), or another task."
                    )

    return Refusing


def _figures(results: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> TaskFigures:
    numbers = {key: float(value) for key, value in results.items() if isinstance(value, int | float)}
    each: dict[str, list[float]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            if isinstance(sample[metric], bool | int | float | np.number):
                each.setdefault(f"{metric},{sample['filter']}", []).append(float(sample[metric]))
    # What has no number for some question has no mean over questions.
    whole = max(map(len, each.values()), default=0)
    return TaskFigures(numbers, {key: values for key, values in each.items() if len(values) == whole})


def _loaded(names: Sequence[str]) -> dict[str, Any]:
    """Give every single task by its name, with its questions."""
    if find_spec("lm_eval") is None:
        raise InputError(
            f"The tasks {', '.join(names)} need lm-eval, which is not installed. Install it with "
            "`pip install 'dsas-diffusion[tasks]'`, or leave the tasks out."
        )
    files = {name: _task_file(Path(name)) for name in names if _is_file(name)}
    for name, about in files.items():
        _local_data(Path(name), about)
    manager = _manager_for(names)
    for name in names:
        if name not in files and name not in manager.all_tasks:
            close = did_you_mean(name, manager.all_tasks)
            raise InputError(
                f"lm-eval knows no task {name!r}, and there is no such task file.{close} `lm-eval ls tasks` lists the "
                "tasks; a task file ends in .yaml."
            )
    try:
        # A group's file is found by the group's name, a task's by its path.
        return dict(manager.load([files.get(name, {}).get("group", name) for name in names])["tasks"])
    except Exception as error:  # whatever a task file, its data or the hub may raise
        raise InputError(
            f"The tasks {', '.join(names)} can't be loaded: {first_line(error)}. Check the task file and its data, or "
            "whether the hub can be reached."
        ) from error


def _manager_for(names: Sequence[str]) -> Any:
    """Give an index that holds these tasks; of lm-eval's own, which are many, only where they may be named."""
    groups = [Path(name).resolve() for name in names if _is_file(name) and "group" in _task_file(Path(name))]
    named = not all(map(_is_file, names)) or any(_names_others(_task_file(path)["task"]) for path in groups)
    return _manager(named, tuple((str(path.parent), path.stat().st_mtime_ns) for path in groups))


@cache
def _manager(named: bool, folders: tuple[tuple[str, int], ...]) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=named, include_path=[folder for folder, _ in folders])


def _names_others(members: Any) -> bool:
    """Whether a group takes in a task that it doesn't write out."""
    return not isinstance(members, list) or any(
        not isinstance(member, dict)
        or (_names_others(member["task"]) if isinstance(member.get("task"), list) else "dataset_path" not in member)
        for member in members
    )


def _is_file(name: str) -> bool:
    return name.endswith(_SUFFIXES) or Path(name).is_file()


def _task_file(path: Path) -> dict[str, Any]:
    """Read a task file, and refuse one that is missing or none."""
    import yaml

    try:
        about = yaml.load(read_text(path), Loader=_loader())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {first_line(error)}. Mend it.") from error
    if not isinstance(about, dict) or "task" not in about:
        raise InputError(
            f"{path} is no task file of lm-eval: it names no task, and as a group none that it consists of."
        )
    return about


def _local_data(path: Path, about: Mapping[str, Any]) -> list[Path]:
    """Give the local data of a task file, and refuse what is missing."""
    local = [Path(file) for file in _data_files(about) if "://" not in file and not any(mark in file for mark in "*?[")]
    missing = next((file for file in local if not file.is_file()), None)
    if missing is not None:
        raise InputError(
            f"{path} takes its questions from {missing}, which is no file. Relative paths begin at the working folder; "
            "mend the path under dataset_kwargs: data_files."
        )
    return local


def _data_files(about: Any) -> Iterator[str]:
    """Give the data files of a task, or of all tasks that a group writes out."""
    if isinstance(about, list):
        for part in about:
            yield from _data_files(part)
    if not isinstance(about, dict):
        return
    if about.get("dataset_path") in _LOCAL:
        named = (about.get("dataset_kwargs") or {}).get("data_files") or ()
        for value in named.values() if isinstance(named, dict) else [named]:
            yield from value if isinstance(value, list | tuple) else [value]
    yield from _data_files(about.get("task"))


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads `!function` as its text: what it names is not run for a check."""

    Loader.add_constructor("!function", lambda loader, node: str(node.value))
    return Loader


@contextmanager
def _random_state_kept(model: PreTrainedModel) -> Generator[None]:
    devices = [model.device] if model.device.type == "cuda" else []
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - lm-eval seeds the global ones
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numbers)  # noqa: NPY002


@contextmanager
def _quiet(progress: bool = False) -> Generator[None]:
    """Keep lm-eval's lines to what is wrong; without progress, its bars too, which it has no switch for."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with nullcontext() if progress else redirect_stderr(StringIO()):
            yield
    finally:
        logger.setLevel(level)
