"""Figures of steered texts beside their unsteered twins, with bootstrap intervals over prompts, and their table."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..evaluation.base import Measure
from ..evaluation.bootstrap import (
    Interval,
    bootstrap_interval,
    bootstrap_ratio,
    paired_bootstrap,
    paired_bootstrap_ratio,
)
from ..evaluation.multiple_choice import MultipleChoiceAccuracy
from ..evaluation.perplexity import MeanPerplexity, Perplexity, perplexity
from ..evaluation.report import format_table
from ..evaluation.toxicity import (
    AnyToxicRate,
    ExpectedMaximumToxicity,
    ToxicityRate,
    any_toxic,
    maximum_toxicity,
    toxic,
)
from ..evaluation.unchanged import Unchanged, unchanged
from .suite import TextSuite

#: (what, key) → its batches, as they are kept.
Parts: TypeAlias = Mapping[tuple[str, str], Sequence[Any]]
Values: TypeAlias = NDArray[np.float64]
#: Log-likelihoods and numbers of tokens, one a text or prompt.
Told: TypeAlias = tuple[Values, Values]


def figures_of(suite: TextSuite, arms: Mapping[str, Parts]) -> dict[str, Any]:
    """Compute every figure of an evaluation.

    Args:
        suite: What was measured.
        arms: `"unsteered"`, and `"steered"` where there is a steerer, → what was kept.

    Returns:
        `figures`, `each` and `tasks`, as `evaluate_language` gives them.
    """
    return {
        "figures": [*_continuations(suite, arms), *_texts(suite, arms), *_questions(suite, arms), *_tasks(arms)],
        "each": {arm: _each(suite, parts) for arm, parts in arms.items()},
        "tasks": {
            arm: {task: found["results"] for task, found in sorted(_answers(parts).items())}
            for arm, parts in arms.items()
        },
    }


def table(report: Mapping[str, Any]) -> str:
    """Lay a report's figures out for the terminal.

    Args:
        report: As `evaluate_language` gives it.
    """
    steered = report["settings"]["steering"] is not None
    columns = {"figure": "", "on": "", "unsteered": "s", "interval": "s"}
    if steered:
        columns |= {"steered": "s", "interval ": "s", "change": "s", "interval  ": "s"}
    rows = []
    for row in report["figures"]:
        arms = ("unsteered", "steered") if steered else ("unsteered",)
        cells = [cell for arm in arms for cell in _cells(row[arm], row["unit"])]
        if steered:
            cells += _cells(
                row["change"], "relative" if row["relative"] else "points" if row["unit"] == "share" else "±"
            )
        rows.append([row["name"], row["on"], *cells])
    return format_table(rows, columns)


def _cells(found: Mapping[str, Any] | None, unit: str) -> list[str | None]:
    if found is None:
        return [None, None]
    show = {
        "share": lambda x: f"{x:.1%}",
        "relative": lambda x: f"{x:+.1%}",
        "points": lambda x: f"{100 * x:+.1f} points",
        "±": lambda x: f"{x:+.3f}",
    }.get(unit, lambda x: f"{x:.3f}")
    mean, low, high = (found[key] for key in ("mean", "low", "high"))
    told = None if mean is None else show(mean)
    return [told, None if low is None else f"{show(low)} to {show(high)}".replace(" points to", " to")]


def _row(
    name: str,
    on: str,
    unit: str,
    measure: type[Measure] | None,
    intervals: Mapping[str, Interval | None],
    relative: bool = False,
) -> dict[str, Any]:
    told = {
        key: None if found is None else {k: _finite(v) for k, v in asdict(found).items()}
        for key in ("unsteered", "steered", "change")
        for found in [intervals.get(key)]
    }
    higher = None if measure is None else measure.higher_is_better
    return {"name": name, "on": on, "unit": unit, **told, "relative": relative, "higher_is_better": higher}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no infinity


def _means(arms: Mapping[str, Values]) -> dict[str, Interval | None]:
    """Intervals of means over prompts, and of their paired difference."""
    found: dict[str, Interval | None] = {arm: _interval(values) for arm, values in arms.items()}
    if "steered" in arms and "unsteered" in arms:
        steered, plain = arms["steered"], arms["unsteered"]
        enough = len(plain) > 1 and np.isfinite(steered).all() and np.isfinite(plain).all()
        with np.errstate(invalid="ignore"):
            mean = float(np.mean(steered - plain)) if len(plain) else math.nan
        alone = Interval(mean, math.nan, math.nan, len(plain))
        found["change"] = paired_bootstrap(steered, plain) if enough else alone
    return found


def _interval(values: Values) -> Interval:
    if len(values) > 1 and np.isfinite(values).all():
        return bootstrap_interval(values)
    return Interval(float(values.mean()) if len(values) else math.nan, math.nan, math.nan, len(values))


def _perplexities(arms: Mapping[str, Told]) -> dict[str, Interval | None]:
    """Intervals of exp(−Σ log-likelihoods / Σ tokens), and of the steered over the unsteered one − 1."""
    found: dict[str, Interval | None] = {}
    for arm, (told, tokens) in arms.items():
        if len(told) > 1:
            logs = bootstrap_ratio(-told, tokens)
        else:
            logs = Interval(float(-told.sum() / tokens.sum()), math.nan, math.nan, len(told))
        found[arm] = _exp(logs)
    if "steered" in arms:
        (told, tokens), (plain, others) = arms["steered"], arms["unsteered"]
        if len(told) > 1:
            logs = paired_bootstrap_ratio(-told, tokens, -plain, others)
        else:
            difference = float(-told.sum() / tokens.sum() + plain.sum() / others.sum())
            logs = Interval(difference, math.nan, math.nan, len(told))
        grown = _exp(logs)
        found["change"] = Interval(grown.mean - 1, grown.low - 1, grown.high - 1, grown.count)
    return found


def _exp(logs: Interval) -> Interval:
    return Interval(*(perplexity(-value, 1) for value in (logs.mean, logs.low, logs.high)), logs.count)


def _column(parts: Parts, what: str, key: str, name: str) -> Values:
    return np.array([value for batch in parts[what, key] for value in batch[name]], dtype=np.float64)


def _continuations(suite: TextSuite, arms: Mapping[str, Parts]) -> Iterator[dict[str, Any]]:
    for kind in suite.prompts:
        if suite.classifier is not None:
            scores = {
                arm: _column(parts, "judged", kind, "score").reshape(-1, suite.samples) for arm, parts in arms.items()
            }
            rates = {arm: toxic(found, suite.threshold).mean(axis=1) for arm, found in scores.items()}
            yield _row("toxic continuations", kind, "share", ToxicityRate, _means(rates))
            if suite.samples > 1:
                once = {arm: any_toxic(found, suite.threshold).astype(np.float64) for arm, found in scores.items()}
                yield _row(f"any of {suite.samples} toxic", kind, "share", AnyToxicRate, _means(once))
                worst = {arm: maximum_toxicity(found) for arm, found in scores.items()}
                yield _row("expected maximum toxicity", kind, "score", ExpectedMaximumToxicity, _means(worst))
        if suite.judge is not None:
            told = {
                arm: (
                    _column(parts, "judged", kind, "log_likelihood").reshape(-1, suite.samples).sum(axis=1),
                    _column(parts, "judged", kind, "tokens").reshape(-1, suite.samples).sum(axis=1),
                )
                for arm, parts in arms.items()
            }
            yield _row("perplexity of continuations", kind, "perplexity", Perplexity, _perplexities(told), True)
        if "steered" in arms:
            texts, twins = ([row["text"] for row in _samples(arms[arm], kind)] for arm in ("steered", "unsteered"))
            same = unchanged(texts, twins).reshape(-1, suite.samples).mean(axis=1)
            yield _row("unchanged continuations", kind, "share", Unchanged, _means({"steered": same}))


def _samples(parts: Parts, kind: str) -> list[Any]:
    return [row for batch in parts["samples", kind] for row in batch]


def _texts(suite: TextSuite, arms: Mapping[str, Parts]) -> Iterator[dict[str, Any]]:
    if not suite.texts:
        return
    told = {
        arm: (_column(parts, "texts", "", "log_likelihood"), _column(parts, "texts", "", "tokens"))
        for arm, parts in arms.items()
    }
    yield _row("perplexity", "texts", "perplexity", Perplexity, _perplexities(told), True)
    single = {
        arm: np.array([perplexity(each, count) for each, count in zip(*found, strict=True)])
        for arm, found in told.items()
    }
    yield _row("mean of texts' perplexities", "texts", "perplexity", MeanPerplexity, _means(single))


def _questions(suite: TextSuite, arms: Mapping[str, Parts]) -> Iterator[dict[str, Any]]:
    if not suite.questions:
        return
    answers = np.array([question.answer for question in suite.questions])
    right = {
        arm: (_column(parts, "questions", "", "chosen") == answers).astype(np.float64) for arm, parts in arms.items()
    }
    yield _row("right answers", "questions", "share", MultipleChoiceAccuracy, _means(right))


def _answers(parts: Parts) -> dict[str, Any]:
    """Give task → what it came to."""
    return {
        task: found
        for (what, _), batches in parts.items()
        if what == "tasks"
        for batch in batches
        for task, found in batch.items()
    }


def _tasks(arms: Mapping[str, Parts]) -> Iterator[dict[str, Any]]:
    for what, name in arms["unsteered"]:
        if what != "tasks":
            continue
        found = {arm: parts[what, name][0] for arm, parts in arms.items()}
        tasks = list(found["unsteered"])
        for on, asked in [(name, tasks)] * (len(tasks) > 1) + [(task, [task]) for task in tasks]:
            for metric in found["unsteered"][asked[0]]["each"]:
                if not all(metric in found["unsteered"][task]["each"] for task in asked):
                    continue
                # Of a group every question counts alike, whichever task it belongs to.
                values = {
                    arm: np.array([value for task in asked for value in each[task]["each"][metric]], dtype=np.float64)
                    for arm, each in found.items()
                }
                yield _row(metric.removesuffix(",none"), on, "score", None, _means(values))


def _each(suite: TextSuite, parts: Parts) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for kind in suite.prompts:
        rows = [{key: row[key] for key in ("prompt", "sample", "given", "text")} for row in _samples(parts, kind)]
        for name in (["score"] if suite.classifier else []) + (["log_likelihood", "tokens"] if suite.judge else []):
            for row, value in zip(rows, _column(parts, "judged", kind, name).tolist(), strict=True):
                row[name] = int(value) if name == "tokens" else value
        told.setdefault("continuations", {})[kind] = rows
    if suite.texts:
        told["texts"] = {name: _column(parts, "texts", "", name).tolist() for name in ("log_likelihood", "tokens")}
    if suite.questions:
        told["questions"] = {"chosen": [int(made) for made in _column(parts, "questions", "", "chosen")]}
    return told | {"tasks": {task: found["each"] for task, found in sorted(_answers(parts).items())}}
