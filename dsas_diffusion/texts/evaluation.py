"""Language models measured with and without steering: taken up where it stopped, every prompt's own figures kept."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from .. import __version__
from ..backends.language import context_of, continue_texts
from ..claims import claim, digest, weights_digest
from ..errors import InputError
from ..evaluation.likelihood import Likelihood, continuation_log_likelihoods, text_log_likelihoods
from ..evaluation.multiple_choice import choose
from ..evaluation.report import to_json
from ..evaluation.tasks import run_tasks
from ..evaluation.toxicity import classified
from ..files import atomic_write, read_json
from ..hooks.calls import Tokens
from ..hooks.fingerprint import fingerprint
from ..hooks.steerer import Steerer
from .figures import figures_of
from .suite import TextSuite, check_steering

MANIFEST: Final = "evaluation.json"
REPORT: Final = "report.json"


def evaluate_language(
    model: PreTrainedModel,
    tokenizer: Any,
    suite: TextSuite,
    steerer: Steerer | None = None,
    *,
    strength: float | None = None,
    tokens: Tokens = "both",
    out: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a language model, and with a steerer the steered model beside its unsteered twin.

    Continuations of both are drawn from the same seeds. Whatever is finished stays in the folder: stopped anywhere and
    called again, it goes on where it was, with the same figures at the end. The folder also serves other steerers and
    strengths with the same suite; what was measured unsteered is then not measured again.

    Args:
        model: The model, unsteered, in evaluation mode. Fixed texts, questions and the judge need a causal one.
        tokenizer: Its tokenizer.
        suite: What is measured.
        steerer: What steers it; `None` measures the model alone.
        strength: λ; `None` for the steerer's own.
        tokens: Which tokens to steer.
        out: Folder for `evaluation.json`, the parts, and `report.json`; `None` keeps nothing.
        progress: Show a bar.

    Returns:
        What `report.json` holds: `settings`; `figures`, one row each with `name`, `on`, `unsteered`, `steered`,
        `change` (mean, low, high and count of each; the interval is the bootstrap's over prompts, paired for the
        change), `relative` (whether the change is a share of the unsteered figure) and `higher_is_better`; `each`, the
        single continuations, texts, questions and task answers behind them; `tasks`, what lm-eval itself reports.

    Raises:
        InputError: If anything handed in can't be used, all of it before the first text is generated; if the folder
            holds another evaluation; or if a continuation turns out empty.
    """
    kinds = suite.check(model, tokenizer)
    if steerer is not None:
        check_steering(steerer, model, strength, tokens, suite, kinds)
    settings = {**_model_settings(model, suite), **suite.settings(), "single_tasks": list(kinds)}
    with TemporaryDirectory() if out is None else nullcontext(out) as place:
        folder = Path(place)
        claim(folder, settings, MANIFEST, "evaluation")
        arms, about = {"unsteered": _Arm(folder / "unsteered", nullcontext)}, None
        if steerer is not None:
            arms["steered"], about = _steered(folder, model, steerer, strength, tokens)
        parts = list(_parts(model, tokenizer, suite, progress))
        missing = {arm: [part for part in parts if not part.file_in(arms[arm].folder).is_file()] for arm in arms}
        total = len(parts) * len(arms)
        done = total - sum(map(len, missing.values()))
        with tqdm(initial=done, total=total, desc="evaluate", unit="part", disable=not progress) as bar:
            for arm, due in missing.items():
                _measure(arms[arm], due, bar)
        found = {name: _gathered(arm.folder, parts) for name, arm in arms.items()}
        report = {"settings": {**settings, "steering": about}, **figures_of(suite, found)}
        atomic_write(folder / REPORT, to_json(report))
        return read_json(folder / REPORT)


@dataclass(frozen=True)
class _Arm:
    """One way to run the model: where its parts are kept, and what is attached meanwhile."""

    folder: Path
    attached: Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class _Part:
    """One file's worth of work.

    Args:
        what: `"samples"`, `"judged"`, `"texts"`, `"questions"` or `"tasks"`.
        key: Kind of prompts or name of the task; empty for texts and questions.
        number: Which batch of it.
        make: Does the work, given the arm's folder.
    """

    what: str
    key: str
    number: int
    make: Callable[[Path], Any]

    def file_in(self, folder: Path) -> Path:
        """Where it is kept."""
        key = self.key if re.fullmatch(r"[\w.-]{0,64}", self.key) else sha256(self.key.encode()).hexdigest()[:16]
        return folder / f"{self.what}-{key}-{self.number:05d}.json"


def _steered(
    folder: Path, model: PreTrainedModel, steerer: Steerer, strength: float | None, tokens: Tokens
) -> tuple[_Arm, dict[str, Any]]:
    """Give the steered arm, and what the report tells of it."""
    about = {
        "steerer": steerer_digest(steerer),
        "strength": float(steerer.strength if strength is None else strength),
        "tokens": tokens,
    }
    name = f"steered-{sha256(json.dumps(about).encode()).hexdigest()[:16]}"
    names = {part: steerer.manifest[part]["name"] for part in ("method", "gate")}
    arm = _Arm(folder / name, lambda: steerer.attached(model, strength, tokens=tokens))
    return arm, {"concept": steerer.concept, **names, **about}


def _parts(model: PreTrainedModel, tokenizer: Any, suite: TextSuite, progress: bool) -> Iterator[_Part]:
    """List the work of one arm: what is to be steered first, then what is judged without."""
    seed, samples = suite.seed, []
    for kind, texts in suite.prompts.items():
        asked = [(row, sample) for row in range(len(texts)) for sample in range(suite.samples)]
        for number, batch in _batches(asked, suite.batch_size):
            samples.append(_Part("samples", kind, number, _sampling(model, tokenizer, suite, kind, batch, seed)))
            seed += 1
    for name in suite.tasks:  # first, since questions that are too long are found only now
        yield _Part("tasks", name, 0, _answering(model, tokenizer, suite, name, progress))
    yield from samples
    for number, batch in _batches(suite.texts, suite.batch_size):
        yield _Part("texts", "", number, _reading(model, tokenizer, suite, batch))
    for number, asked in _batches(suite.questions, suite.batch_size):
        yield _Part(
            "questions",
            "",
            number,
            lambda _, asked=asked: {
                "chosen": choose(model, tokenizer, asked, batch_size=suite.batch_size).tolist(),
            },
        )
    for part in samples:
        yield _Part("judged", part.key, part.number, _judging(suite, part))


def _batches(rows: Sequence[Any], size: int) -> Iterator[tuple[int, Sequence[Any]]]:
    return ((number, rows[start : start + size]) for number, start in enumerate(range(0, len(rows), size)))


def _sampling(
    model: PreTrainedModel, tokenizer: Any, suite: TextSuite, kind: str, asked: Sequence[tuple[int, int]], seed: int
) -> Callable[[Path], Any]:
    def make(_: Path) -> Any:
        texts = [suite.prompts[kind][row] for row, _sample in asked]
        (made,) = continue_texts(
            model, tokenizer, texts, seed, batch_size=len(texts), generation=suite.sampling, chat=suite.chat
        )
        for (row, _sample), (_given, text) in zip(asked, made, strict=True):
            if not text.strip():
                raise InputError(
                    f"The {kind} prompt {suite.prompts[kind][row][-60:]!r} was continued with nothing but {text!r}, "
                    "and an empty text can't be judged. Raise min_new_tokens, or take another seed."
                )
        return [
            {"prompt": row, "sample": sample, "given": given, "text": text}
            for (row, sample), (given, text) in zip(asked, made, strict=True)
        ]

    return make


def _judging(suite: TextSuite, part: _Part) -> Callable[[Path], Any]:
    def make(folder: Path) -> Any:
        made = _kept(part, folder)
        found: dict[str, Any] = {}
        if suite.classifier is not None:
            found["score"] = classified(suite.classifier, [row["text"].strip() for row in made]).tolist()
        if suite.judge is not None:
            context = context_of(suite.judge[0])
            told = continuation_log_likelihoods(
                *suite.judge,
                [row["given"] for row in made],
                [row["text"] for row in made],
                batch_size=suite.batch_size,
                stride=context and context // 2,
            )
            found |= _plain(told)
        return found

    return make


def _reading(model: PreTrainedModel, tokenizer: Any, suite: TextSuite, texts: Sequence[str]) -> Callable[[Path], Any]:
    return lambda _: _plain(
        text_log_likelihoods(model, tokenizer, texts, batch_size=suite.batch_size, stride=suite.stride)
    )


def _answering(
    model: PreTrainedModel, tokenizer: Any, suite: TextSuite, name: str, progress: bool
) -> Callable[[Path], Any]:
    def make(_: Path) -> Any:
        found = run_tasks(
            model,
            tokenizer,
            [name],
            batch_size=suite.batch_size,
            shots=suite.shots,
            limit=suite.limit,
            chat=suite.chat,
            progress=progress,
        )
        return {task: asdict(figures) for task, figures in found.items()}

    return make


def _plain(told: Sequence[Likelihood]) -> dict[str, list[float]]:
    return {
        "log_likelihood": [each.log_likelihood for each in told],
        "tokens": [each.tokens for each in told],
    }


def _measure(arm: _Arm, due: Sequence[_Part], bar: tqdm) -> None:
    steered = [part for part in due if part.what != "judged"]
    with arm.attached() if steered else nullcontext():
        _make(arm, steered, bar)
    _make(arm, [part for part in due if part.what == "judged"], bar)


def _make(arm: _Arm, due: Sequence[_Part], bar: tqdm) -> None:
    for part in due:
        bar.set_postfix_str(f"{arm.folder.name.partition('-')[0]}, {part.what} {part.key}".rstrip())
        atomic_write(part.file_in(arm.folder), to_json({"part": part.make(arm.folder)}))
        bar.update()


def _gathered(folder: Path, parts: Sequence[_Part]) -> dict[tuple[str, str], list[Any]]:
    """Give (what, key) → its batches, read back from their files, in order."""
    found: dict[tuple[str, str], list[Any]] = {}
    for part in parts:
        found.setdefault((part.what, part.key), []).append(_kept(part, folder))
    return found


def _kept(part: _Part, folder: Path) -> Any:
    """Read one part back."""
    kept = read_json(part.file_in(folder))
    if not isinstance(kept, dict) or "part" not in kept:
        raise InputError(f"{part.file_in(folder)} is no part of an evaluation. Remove it; it is then made again.")
    return kept["part"]


def _model_settings(model: PreTrainedModel, suite: TextSuite) -> dict[str, Any]:
    return {
        "model": fingerprint(model, [])["config_digest"],
        "weights": weights_digest(model),
        "precision": str(model.dtype).removeprefix("torch."),
        "judge": None if suite.judge is None else weights_digest(suite.judge[0]),
        "device": model.device.type,
        # The last bits of a figure depend on it.
        "threads": torch.get_num_threads() if model.device.type == "cpu" else None,
        "library_version": __version__,
    }


def steerer_digest(steerer: Steerer) -> str:
    """SHA-256 over what a steerer does: sites, weights, and the values of its gates and maps.

    Args:
        steerer: The steerer; its strength does not count.
    """
    told = [
        (f"{path} {steered.weight!r} {part}.{name}", tensor)
        for path, steered in sorted(steerer.sites.items())
        for part, module in (("gate", steered.gate), ("method", steered.method))
        for name, tensor in [(module.name, torch.zeros(0)), *module.state_dict().items()]
    ]
    return digest(told)
