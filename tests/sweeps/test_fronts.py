"""Fronts with bands, hypervolumes and verdicts against a bootstrap in loops; operating points against the rule."""

import math

import numpy as np
import pytest

from dsas_diffusion.evaluation.pareto import Curve, hypervolume, paired_hypervolume, pareto_front
from dsas_diffusion.sweeps.figures import FIGURES
from dsas_diffusion.sweeps.fronts import BAND, LEVELS, compare, fronts, tuned_hypervolume, verdict
from dsas_diffusion.sweeps.operating import RULES, choose, operate
from dsas_diffusion.sweeps.reached import Reached

NAN = math.nan
KINDS = {"source": 5, "control": 6, "mixed": 4}


def curve(seed, tasks=("a", "b"), strengths=3, harm=0.1, **fixed):
    """Made-up values: figure → (strengths, prompts), NaN where a figure isn't told of a kind."""
    dice = np.random.default_rng(seed)
    groups = np.array([f"{task}/{kind}" for task in tasks for kind, count in KINDS.items() for _ in range(count)])
    kinds = np.array([group.partition("/")[2] for group in groups])
    steps = np.linspace(0.4, 1, strengths)[:, None]
    values = {}
    for name, figure in FIGURES.items():
        drawn = (dice.random((strengths, len(groups))) < steps).astype(float)
        if name in ("ssim", "other_kept", "control_kept"):
            drawn = 1 - harm * steps * dice.random((strengths, len(groups)))
        drawn[:, ~np.isin(kinds, figure.kinds)] = NAN
        values[name] = drawn
    values["removal"][:, 2] = NAN  # a twin that doesn't show the concept
    for name, found in fixed.items():
        values[name] = np.where(np.isnan(values[name]), NAN, np.array(found, dtype=float)[:, None])
    levels = tuple(float(2**place) for place in range(strengths))
    return Reached(dict.fromkeys(tasks, levels), groups, values, {name: v[0] for name, v in values.items()})


def resamples_by_loops(curves, count, seed):
    """Draw prompts group by group, and take means one by one: technique → (count, strengths, 3)."""
    groups = next(iter(curves.values())).groups
    names = list(dict.fromkeys(groups.tolist()))
    draws = {}
    for name, generator in zip(names, np.random.default_rng(seed).spawn(len(names)), strict=True):
        places = np.flatnonzero(groups == name)
        times = generator.multinomial(len(places), np.full(len(places), 1 / len(places)), count)
        draws[name] = [np.repeat(places, each) for each in times]
    found = {}
    for technique, one in curves.items():
        found[technique] = [
            [
                [np.nanmean(one.values[figure][place, np.concatenate([draws[name][number] for name in names])])
                 for figure in ("removal", "ssim", "other_kept")]
                for place in range(len(one.values["removal"]))
            ]
            for number in range(count)
        ]  # fmt: skip
    return {technique: np.array(points) for technique, points in found.items()}


def test_fronts_bands_and_differences_against_a_bootstrap_in_loops():
    curves = {"one": curve(1), "two": curve(2, strengths=4, harm=0.3)}
    found = fronts(curves, resamples=60, seed=3)
    assert list(found) == ["ssim", "other_kept"]
    drawn = resamples_by_loops(curves, 60, 3)
    for place, plane in enumerate(("ssim", "other_kept"), start=1):
        areas = {}
        for technique, one in curves.items():
            front = found[plane][technique]
            points = [(0.0, 1.0), *zip(one.means("removal"), one.means(plane), strict=True)]
            assert front.points == pytest.approx(np.array(points))
            assert front.on_front.tolist() == pareto_front(points).tolist()
            assert front.hypervolume.mean == pytest.approx(hypervolume(points))
            resampled = [[(r, p[place - 1]) for r, *p in points] for points in drawn[technique].tolist()]
            areas[technique] = [hypervolume(points) for points in resampled]
            ends = np.quantile(areas[technique], [0.025, 0.975])
            assert (front.hypervolume.low, front.hypervolume.high) == pytest.approx(tuple(ends))
            for level, height in zip(LEVELS, front.heights, strict=True):
                best = [p for r, p in points if r >= level]
                assert (height is None) == (not best)
                if height is not None:
                    each = [max([p for r, p in points if r >= level], default=0.0) for points in resampled]
                    expected = (max(best), *np.quantile(each, [0.025, 0.975]))
                    assert (height.mean, height.low, height.high) == pytest.approx(expected)
            band = [[max([p for r, p in points if r >= x], default=0.0) for x in BAND] for points in resampled]
            assert front.band == pytest.approx(np.quantile(band, [0.025, 0.975], axis=0))
        difference = np.subtract(areas["one"], areas["two"])
        compared = compare(found[plane]["one"], found[plane]["two"], 7)
        assert (compared.difference.low, compared.difference.high) == pytest.approx(
            tuple(np.quantile(difference, [0.025, 0.975]))
        )
        assert compared.difference.count == 7
        low, high = compared.difference.low, compared.difference.high
        assert compared.verdict == ("ahead" if low > 0 else "behind" if high < 0 else "not distinguishable")


def test_one_task_is_the_paired_hypervolume_of_measures():
    """On one task without mixed prompts the planes' prompts are apart, as `paired_hypervolume` has them."""
    one, two = curve(4, ["a"]), curve(5, ["a"], harm=0.4)
    keep = [not group.endswith("mixed") for group in one.groups]
    curves, plain = {}, []
    for name, each in (("one", one), ("two", two)):
        values = {figure: found[:, keep] for figure, found in each.values.items()}
        curves[name] = Reached(each.strengths, each.groups[keep], values, {})
        plain.append(Curve(values["removal"][:, :5], values["ssim"][:, 5:]))
    found = fronts(curves, resamples=4000)
    assert list(found) == ["ssim"]  # no mixed prompts: nothing to tell of what stands beside
    compared = compare(found["ssim"]["one"], found["ssim"]["two"], 11)
    expected = paired_hypervolume(*plain, resamples=4000)
    assert compared.difference.mean == pytest.approx(expected.mean)
    width = expected.high - expected.low
    # The prompt that counts nowhere is drawn along here and left out there: resamples differ, intervals hardly.
    assert (compared.difference.low, compared.difference.high) == pytest.approx(
        (expected.low, expected.high), abs=0.15 * width
    )


def test_verdicts():
    assert [verdict(*ends) for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (0.0, 0.1), (-0.1, 0.0))] == [
        "ahead", "behind", *["not distinguishable"] * 3]  # fmt: skip
    curves = {"good": curve(6, harm=0.0), "bad": curve(6, harm=0.9)}
    found = fronts(curves, resamples=500)
    assert compare(found["ssim"]["good"], found["ssim"]["bad"], 1).verdict == "ahead"
    assert compare(found["ssim"]["bad"], found["ssim"]["good"], 1).verdict == "behind"
    same = compare(found["ssim"]["good"], found["ssim"]["good"], 1)
    assert (same.difference.low, same.difference.mean, same.difference.high) == (0, 0, 0)
    assert fronts({}) == {}


def test_tuned_hypervolume_is_that_of_the_means():
    one = curve(7)
    assert tuned_hypervolume(one) == pytest.approx(hypervolume(np.stack([one.means("removal"), one.means("ssim")], 1)))


def tuned(removal, ssim, kept):
    return curve(8, ["a"], strengths=len(removal), removal=removal, ssim=ssim, control_kept=kept)


@pytest.mark.parametrize(
    ("rule", "removal", "ssim", "kept", "place", "met"),
    [
        ("A", (0.5, 0.9, 1.0), (0.99, 0.95, 0.9), (1.0, 0.98, 0.97), 1, True),
        ("A", (0.9, 0.9, 0.9), (0.90, 0.95, 0.9), (1.0, 1.0, 1.0), 1, True),  # ties go by SSIM
        ("A", (0.9, 0.9, 0.9), (0.95, 0.95, 0.9), (1.0, 1.0, 1.0), 0, True),  # and then to the weaker one
        ("A", (0.5, 0.9, 1.0), (0.99, 0.95, 0.9), (0.97, 0.96, 0.5), 0, False),  # the nearest
        ("B", (0.94, 0.95, 1.0), (0.99, 0.95, 0.96), (1.0, 1.0, 0.0), 2, True),
        ("B", (0.95, 0.96, 1.0), (0.95, 0.95, 0.94), (1.0, 1.0, 1.0), 1, True),  # of equals the one that removes more
        ("B", (0.5, 0.94, 0.9), (0.99, 0.5, 0.9), (1.0, 1.0, 1.0), 1, False),
    ],
)
def test_rules_by_hand(rule, removal, ssim, kept, place, met):
    found = choose(RULES[rule], tuned(removal, ssim, kept))
    assert found is not None
    assert (found.place, found.met) == (place, met)
    assert found.floor == pytest.approx({"A": kept, "B": removal}[rule][place])


def test_a_figure_that_was_not_measured_chooses_nothing():
    blind = tuned((0.5, 1.0), (1.0, 0.9), (NAN, NAN))
    assert choose(RULES["A"], blind) is None
    assert choose(RULES["B"], blind) is not None
    held = {"x": curve(9, ["a"], strengths=2)}
    assert operate(RULES["A"], {"x": {"a": blind}}, held, resamples=10) == {"x": None}


def test_operating_points_take_each_tasks_own_strength_and_tell_heldout_figures():
    heldout = {"x": curve(10), "y": curve(11)}
    tuning = {
        "x": {"a": tuned((0.5, 0.96, 1.0), (1.0, 0.9, 0.8), (1, 1, 1)),
              "b": tuned((0.5, 0.6, 0.7), (1.0, 0.9, 0.8), (1, 1, 1))},
        "y": {"a": tuned((1.0, 1.0, 1.0), (1.0, 0.9, 0.8), (1, 1, 1)),
              "b": tuned((0.5, 0.9, 1.0), (1.0, 0.9, 0.8), (1, 1, 1))},
    }  # fmt: skip
    found = operate(RULES["B"], tuning, heldout, resamples=3000)
    x, y = found["x"], found["y"]
    assert x is not None
    assert y is not None
    assert (x.strengths, x.met) == ({"a": 2.0, "b": 4.0}, 1)
    assert (y.strengths, y.met) == ({"a": 1.0, "b": 4.0}, 2)
    half = len(heldout["x"].groups) // 2
    own = heldout["x"].values["ssim"]
    values = np.concatenate([own[1, :half], own[2, half:]])
    ssim = x.figures["ssim"]
    assert ssim is not None
    assert (ssim.mean, ssim.count) == (pytest.approx(np.nanmean(values)), 12)
    # Control prompts of each task among their own, in loops.
    dice, means = np.random.default_rng(0), []
    for _ in range(3000):
        parts = [part[~np.isnan(part)] for part in (own[1, :half], own[2, half:])]
        means.append(np.mean(np.concatenate([dice.choice(part, len(part)) for part in parts])))
    low, high = np.quantile(means, [0.025, 0.975])
    assert (ssim.low, ssim.high) == pytest.approx((low, high), abs=0.1 * (high - low))
