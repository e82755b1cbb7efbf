"""Everything that a sweep's report tells, as one nested mapping: what report.json holds and pages are made from."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np

from ..evaluation.bootstrap import Interval
from ..methods.base import METHODS
from .figures import FIGURES
from .folder import Sweep
from .fronts import BAND, LEVELS, REFERENCE, Front, compare, fronts, tuned_hypervolume
from .limits import limits
from .operating import RULES, Operating, operate
from .reached import Reached, at_strengths, mean_over_prompts, reached, together
from .rows import Split
from .scopes import Scope, headlines, scopes
from .steering import Steering
from .technique import Technique


def findings(sweep: Sweep, resamples: int = 10_000) -> dict[str, Any]:
    """Tell everything.

    Args:
        sweep: What was drawn.
        resamples: How many resamples intervals are made from.

    Returns:
        Strings, numbers (NaN where nothing could be measured), lists and mappings; an interval is
        `[mean, low, high]`.
    """
    found = scopes(sweep)

    @cache
    def part(task: str, technique: str, split: Split) -> Reached:
        return reached(sweep, [task], technique, split)

    first = {scope.name for scope in headlines(found)}
    plan = sweep.plan
    return {
        "title": plan.title,
        "made": dict(sweep.made),
        "plan": {
            "pipeline": plan.pipeline,
            "precision": plan.precision,
            "generation": dict(plan.generation),
            "clip": plan.clip,
            "detector": plan.detector,
            "seeds": plan.seeds,
            "grid": asdict(plan.grid),
            "pictures": asdict(plan.pictures),
        },
        "resamples": resamples,
        "reference": list(REFERENCE),
        "levels": list(LEVELS),
        "band_at": BAND.tolist(),
        "rules": {letter: rule.text for letter, rule in RULES.items()},
        "figures": {name: {"heading": one.heading, "meaning": one.meaning} for name, one in FIGURES.items()},
        "tasks": {name: _task(sweep, name) for name in plan.tasks},
        "techniques": {name: _technique(sweep, name) for name in plan.techniques},
        "scopes": [{**_scope(sweep, scope, part, resamples), "headline": scope.name in first} for scope in found],
        "grid": {task: _grid(sweep, task) for task, about in plan.tasks.items() if about.cases is None},
        "limits": [
            {**row, "figures": {name: _plain(figure) for name, figure in row["figures"].items()}}
            for row in limits(sweep, resamples)
        ],
        "missing": sweep.missing(),
    }


def best_steering(sweep: Sweep, tuning: Mapping[str, Reached]) -> str | None:
    """Choose the configuration that stands for steering with gates: the largest hypervolume on tuning prompts.

    Args:
        sweep: What was drawn.
        tuning: Technique → what it reached on tuning prompts.

    Returns:
        Its name, the first of equals; `None` where there is none or nothing was measured.
    """
    volumes = {
        name: tuned_hypervolume(curve)
        for name, curve in tuning.items()
        if sweep.gated(name) and not sweep.techniques[name].oracle
    }
    measured = {name: volume for name, volume in volumes.items() if not np.isnan(volume)}
    return max(measured, key=lambda name: measured[name], default=None)


def without_gate(sweep: Sweep, technique: str) -> str | None:
    """Find the technique that is the same steering open everywhere.

    Args:
        sweep: What was drawn.
        technique: Steering with a gate.
    """
    own = sweep.techniques[technique]
    return next(
        (
            name
            for name, other in sweep.techniques.items()
            if isinstance(other, Steering) and other.gate == "always" and _map_of(other) == _map_of(own)
        ),
        None,
    )


def _map_of(technique: Technique) -> dict[str, Any]:
    """Everything of a steering but its gate and what the gate alone learns from."""
    left_out = ("gate", "gate_settings", "control", "swapped", "steerers")
    return {name: value for name, value in vars(technique).items() if name not in left_out}


def _scope(sweep: Sweep, scope: Scope, part: Callable[[str, str, Split], Reached], resamples: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": scope.name,
        "tasks": list(scope.tasks),
        "pooled": scope.pooled,
        "techniques": list(scope.techniques),
        "waiting": list(scope.waiting),
        "best": None,
        "tuned": {},
        "fronts": {},
        "comparisons": [],
        "gates": [],
        "operating": {letter: {} for letter in RULES},
    }
    heldout = {name: together([part(task, name, "heldout") for task in scope.tasks]) for name in scope.techniques}
    drawn = fronts(heldout, resamples)
    told["fronts"] = {
        plane: {name: _front(sweep, heldout[name], front) for name, front in each.items()}
        for plane, each in drawn.items()
    }
    if not scope.techniques or not all(sweep.prompts[task]["tuning"] for task in scope.tasks):
        return told
    each = {name: {task: part(task, name, "tuning") for task in scope.tasks} for name in scope.techniques}
    tuning = {name: together(list(parts.values())) for name, parts in each.items()}
    told["tuned"] = {name: tuned_hypervolume(curve) for name, curve in tuning.items()}
    best = told["best"] = best_steering(sweep, tuning)
    if best is not None:
        others = [(best, name) for name in scope.techniques if name != best]
        told["comparisons"] = _compared(drawn, others)
    pairs = [(name, other) for name in scope.techniques if sweep.gated(name) and (other := without_gate(sweep, name))]
    told["gates"] = _compared(drawn, [pair for pair in pairs if pair[1] in scope.techniques])
    told["operating"] = {
        letter: {name: _operating(point) for name, point in operate(rule, each, heldout, resamples).items()}
        for letter, rule in RULES.items()
    }
    return told


def _compared(drawn: Mapping[str, Mapping[str, Front]], pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    found = []
    for plane, each in drawn.items():
        for first, second in pairs:
            one, other = each[first], each[second]
            compared = compare(one, other, one.hypervolume.count)
            found.append(
                {
                    "plane": plane,
                    "first": first,
                    "second": second,
                    "hypervolumes": [one.hypervolume.mean, other.hypervolume.mean],
                    "difference": _plain(compared.difference),
                    "verdict": compared.verdict,
                }
            )
    return found


def _front(sweep: Sweep, curve: Reached, front: Front) -> dict[str, Any]:
    around, own = sweep.plan.grid.around, next(iter(curve.strengths.values()))
    same = len(set(curve.strengths.values())) == 1
    marks = [f"λ = {strength:g}" for strength in own] if same else [f"{factor:g} × centre" for factor in around]
    return {
        "hypervolume": _plain(front.hypervolume),
        "prompts": front.hypervolume.count,
        "heights": [_plain(height) for height in front.heights],
        "points": [
            {"mark": mark, "removal": float(removal), "preservation": float(kept), "front": bool(on_front)}
            for mark, (removal, kept), on_front in zip(["λ = 0", *marks], front.points, front.on_front, strict=True)
        ],
        "band": front.band.tolist(),
    }


def _operating(point: Operating | None) -> dict[str, Any] | None:
    if point is None:
        return None
    return {
        "strengths": point.strengths,
        "met": [task for task, choice in point.choices.items() if choice.met],
        "tuned": {task: choice.floor for task, choice in point.choices.items()},
        "figures": {name: _plain(figure) for name, figure in point.figures.items()},
    }


def _grid(sweep: Sweep, task: str) -> dict[str, list[dict[str, Any]]]:
    """Every held-out strength that is whole, that of λ = 0 first."""
    found = {}
    for technique in (technique for of, technique in sweep.plan.units() if of == task):
        strengths = sorted(
            {
                cell.strength
                for cell in sweep.cells
                if (cell.task, cell.technique, cell.split) == (task, technique, "heldout")
            }
        )
        whole = [strength for strength in strengths if sweep.whole(task, technique, "heldout", strength)]
        if not whole:
            continue
        curve = at_strengths(sweep, task, technique, whole)
        means = {name: curve.means(name) for name in FIGURES}
        found[technique] = [
            {"strength": 0.0, **{name: float(mean_over_prompts(values)) for name, values in curve.untouched.items()}},
            *(
                {"strength": strength, **{name: float(values[place]) for name, values in means.items()}}
                for place, strength in enumerate(whole)
            ),
        ]
    return found


def _task(sweep: Sweep, name: str) -> dict[str, Any]:
    task = sweep.plan.tasks[name]
    return {
        "concepts": list(task.concepts),
        "prompts": task.prompts,
        "towards": task.towards,
        "goal": task.goal,
        "pipeline": task.pipeline or sweep.plan.pipeline,
        "generation": {**sweep.plan.generation, **task.generation},
        "hard_cases": task.cases is not None,
        **{split: {kind: len(texts) for kind, texts in kinds.items()} for split, kinds in sweep.prompts[name].items()},
    }


def _technique(sweep: Sweep, name: str) -> dict[str, Any]:
    made, entry = sweep.techniques[name], sweep.plan.techniques[name]
    units = {task: about for (task, technique), about in sweep.units.items() if technique == name}
    timed = {task: about for task, about in units.items() if about.get("ratio") is not None}
    fits = [about["fit_seconds"] for about in units.values() if about.get("fit_seconds") is not None]
    return {
        "title": sweep.title(name),
        "use": entry.use,
        "settings": dict(entry.settings),
        "gated": sweep.gated(name),
        "oracle": made.oracle,
        "unit_strength": METHODS[made.method].unit_strength if isinstance(made, Steering) else made.unit_strength,
        "source": made.source,
        "time": {task: [about["ratio"], about["ratio_low"], about["ratio_high"]] for task, about in timed.items()},
        "fit_seconds": statistics.median(fits) if fits else None,
        "localisation": {
            task: {key: about.get(key) for key in ("gate_auroc", "gate_iou")}
            for task, about in units.items()
            if about.get("gate_auroc") is not None
        },
        "strengths": {task: list(sweep.strengths(task, name)) for task in units},
        "own_strengths": None if entry.strengths is None else list(entry.strengths),
    }


def _plain(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.mean, interval.low, interval.high]
