"""Operating points by rule: a strength chosen on tuning prompts alone, its figures told on held-out ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..evaluation.bootstrap import Interval, percentiles, resampled_means
from .figures import FIGURES
from .reached import Reached, mean_over_prompts


@dataclass(frozen=True)
class Rule:
    """How a strength is chosen.

    Args:
        letter: What tables call the rule.
        text: The rule in words.
        floor: The figure that must reach `least`.
        least: How much of it.
        best: The figures that then decide, one after the other where they tie.
    """

    letter: str
    text: str
    floor: str
    least: float
    best: tuple[str, ...]


#: The rules, from the one that spares most to the one that removes most.
RULES: Final = {
    "A": Rule(
        "A",
        "the most removal among strengths that keep at least 98% of the control pictures' objects, ties by control "
        "SSIM",
        "control_kept",
        0.98,
        ("removal", "ssim"),
    ),
    "B": Rule(
        "B",
        "the highest control SSIM among strengths that remove at least 95%",
        "removal",
        0.95,
        ("ssim", "removal"),
    ),
}


@dataclass(frozen=True)
class Choice:
    """The strength that a rule takes for one task.

    Args:
        place: Its place among the judged strengths.
        met: Whether it meets the rule on tuning prompts; else it is the nearest.
        floor: The figure that the rule asks for, on tuning prompts.
    """

    place: int
    met: bool
    floor: float


@dataclass(frozen=True)
class Operating:
    """A technique at the strengths that a rule takes, on held-out prompts.

    Args:
        choices: Task → choice.
        strengths: Task → λ.
        figures: Figure → mean over prompts and interval; `None` where it was not measured.
    """

    choices: dict[str, Choice]
    strengths: dict[str, float]
    figures: dict[str, Interval | None]

    @property
    def met(self) -> int:
        """On how many tasks the rule is met on tuning prompts."""
        return sum(choice.met for choice in self.choices.values())


def choose(rule: Rule, tuning: Reached) -> Choice | None:
    """Choose a strength for one task.

    Args:
        rule: The rule.
        tuning: What the technique reached on the task's tuning prompts.

    Returns:
        The choice; where no strength meets the rule, the one that comes nearest, ties by the rule's other figures.
        `None` where the rule's figures were not measured.
    """
    floor = tuning.means(rule.floor)
    others = [tuning.means(name) for name in rule.best]
    if np.isnan([floor, *others]).any():
        return None
    meets = floor >= rule.least
    ranked = others if meets.any() else [floor, *others]
    places = np.flatnonzero(meets) if meets.any() else np.arange(len(floor))
    # The best first; of equals the weaker one.
    best = max(places.tolist(), key=lambda place: (*(values[place] for values in ranked), -place))
    return Choice(best, bool(meets.any()), float(floor[best]))


def operate(
    rule: Rule,
    tuning: Mapping[str, Mapping[str, Reached]],
    heldout: Mapping[str, Reached],
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Operating | None]:
    """Tell every technique's held-out figures at the strengths that a rule takes.

    Args:
        rule: The rule.
        tuning: Technique → task → what it reached on tuning prompts.
        heldout: Technique → what it reached on the held-out prompts of the same tasks together.
        resamples: How many resamples, drawn as for `fronts`.
        seed: Of the generator.

    Returns:
        Technique → operating point; `None` where a figure that the rule needs was not measured.
    """
    chosen: dict[str, dict[str, Choice]] = {}
    for technique, tasks in tuning.items():
        choices = {task: choose(rule, found) for task, found in tasks.items()}
        measured = {task: choice for task, choice in choices.items() if choice is not None}
        if len(measured) == len(choices):
            chosen[technique] = measured
    if not chosen:
        return dict.fromkeys(tuning)
    values = {
        technique: heldout[technique].at([choice.place for choice in choices.values()])
        for technique, choices in chosen.items()
    }
    rows = np.stack([found[name] for found in values.values() for name in FIGURES])
    told = iter(intervals(rows, next(iter(heldout.values())).groups, resamples, seed))
    figures = {technique: {name: next(told) for name in FIGURES} for technique in chosen}
    return {
        technique: None
        if technique not in chosen
        else Operating(
            chosen[technique],
            {task: heldout[technique].strengths[task][choice.place] for task, choice in chosen[technique].items()},
            figures[technique],
        )
        for technique in tuning
    }


def intervals(rows: np.ndarray, groups: np.ndarray, resamples: int = 10_000, seed: int = 0) -> list[Interval | None]:
    """Give each row's mean over prompts with its 95 % interval.

    Args:
        rows: (m, n), NaN where a prompt has no value.
        groups: (n,) which prompts are drawn among one another.
        resamples: How many resamples.
        seed: Of the generator.

    Returns:
        One a row; `None` where no prompt has a value.
    """
    lows, highs = percentiles(resampled_means(rows, groups, resamples, seed))
    counts = (~np.isnan(rows)).sum(axis=1)
    return [
        Interval(float(mean), float(low), float(high), int(count)) if count else None
        for mean, low, high, count in zip(mean_over_prompts(rows), lows, highs, counts, strict=True)
    ]
