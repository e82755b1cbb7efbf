"""Bootstrap intervals against all resamples of a small set, SciPy, and coverage."""

import itertools

import numpy as np
import pytest
from scipy import stats

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation import bootstrap as module
from dsas_diffusion.evaluation.bootstrap import (
    Interval,
    bootstrap_interval,
    bootstrap_ratio,
    paired_bootstrap,
    paired_bootstrap_ratio,
    percentiles,
    resampled_means,
)

NAN = float("nan")


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_against_all_resamples(level):
    values = [0.0, 1.0, 10.0]
    means = [np.mean(draw) for draw in itertools.product(values, repeat=3)]  # 27, equally likely
    tails = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    found = bootstrap_interval(values, level)
    assert (found.low, found.high) == pytest.approx(tuple(tails))
    assert (found.mean, found.count) == (pytest.approx(11 / 3), 3)


def test_against_scipy():
    values = np.random.default_rng(1).exponential(size=60)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=2).confidence_interval
    found = bootstrap_interval(values)
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.05 * width)


def test_coverage():
    draws = np.random.default_rng(3).normal(0.5, 1, (300, 40))
    intervals = [bootstrap_interval(row, resamples=400, seed=i) for i, row in enumerate(draws)]
    covered = np.mean([found.low <= 0.5 <= found.high for found in intervals])
    assert 0.89 <= covered <= 0.98


def test_pairs_stay_together():
    noise = np.random.default_rng(4)
    others = noise.normal(0, 100, 50)
    values = others + noise.normal(1, 0.1, 50)
    found = paired_bootstrap(values, others)
    assert 0.9 < found.low < found.mean < found.high < 1.1  # apart, the two means are uncertain by about 14
    assert found.mean == pytest.approx(np.mean(values - others))
    turned = paired_bootstrap(others, values)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_constant_difference():
    others = np.arange(6.0)
    assert paired_bootstrap(others + 0.5, others) == Interval(0.5, 0.5, 0.5, 6)


def test_prompts_without_a_value_are_left_out_of_both():
    found = paired_bootstrap([1, NAN, 3, 4, NAN, 6], [0, 5, NAN, 2, NAN, 3])
    assert found == paired_bootstrap([1, 4, 6], [0, 2, 3])
    assert (found.mean, found.count) == (2, 3)
    assert bootstrap_interval([1, NAN, 3]) == bootstrap_interval([1, 3])


def test_seeds_and_the_global_state():
    values = np.random.default_rng(5).random(30)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=np.random.default_rng(1))
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_parts_of_the_resamples_are_put_together(monkeypatch):
    values = np.random.default_rng(6).random(30)
    whole = bootstrap_interval(values, resamples=1001)
    monkeypatch.setattr(module, "DRAWS", 90)  # three resamples at a time
    assert bootstrap_interval(values, resamples=1001) == whole


def test_bad_input():
    with pytest.raises(InputError, match="0 prompts have a value that is not NaN; an interval over prompts needs 2"):
        bootstrap_interval([])
    with pytest.raises(InputError, match="1 prompts have a value"):
        paired_bootstrap([1, 2, NAN], [NAN, 3, 4])
    with pytest.raises(InputError, match="values has 3 entries and others 2"):
        paired_bootstrap([1, 2, 3], [1, 2])
    with pytest.raises(InputError, match="others holds an infinite value, for prompt 1"):
        paired_bootstrap([1, 2], [1, np.inf])
    with pytest.raises(InputError, match=r"values has the shape \(1, 2\)"):
        bootstrap_interval([[1, 2]])
    for settings in ({"level": 1.0}, {"level": 95}, {"resamples": 0}):
        with pytest.raises(InputError, match="a level between 0 and 1"):
            bootstrap_interval([1, 2], **settings)


def test_ratios_against_all_resamples():
    parts, wholes = np.array([1.0, 4.0, 30.0]), np.array([2.0, 3.0, 9.0])
    drawn = [list(rows) for rows in itertools.product(range(3), repeat=3)]
    ratios = [parts[rows].sum() / wholes[rows].sum() for rows in drawn]
    found = bootstrap_ratio(parts, wholes, level=0.8)
    tails = np.quantile(ratios, [0.1, 0.9], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx(tuple(tails))
    assert (found.mean, found.count) == (pytest.approx(35 / 14), 3)
    others = np.array([2.0, 2.0, 20.0]), np.array([1.0, 4.0, 8.0])
    differences = [
        parts[rows].sum() / wholes[rows].sum() - others[0][rows].sum() / others[1][rows].sum() for rows in drawn
    ]
    paired = paired_bootstrap_ratio(parts, wholes, *others, level=0.8)
    tails = np.quantile(differences, [0.1, 0.9], method="inverted_cdf")
    assert (paired.low, paired.high) == pytest.approx(tuple(tails))
    assert paired.mean == pytest.approx(35 / 14 - 24 / 13)


def test_ratios_against_scipy(monkeypatch):
    noise = np.random.default_rng(4)
    wholes = noise.integers(5, 50, size=80).astype(float)
    parts = wholes * noise.normal(2, 0.5, size=80)
    expected = stats.bootstrap(
        (parts, wholes), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, method="percentile",
        n_resamples=5000, rng=5,
    ).confidence_interval  # fmt: skip
    found = bootstrap_ratio(parts, wholes)
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.05 * width)
    assert bootstrap_ratio(parts, np.ones(80)) == bootstrap_interval(parts)
    assert paired_bootstrap_ratio(parts, wholes, parts, wholes) == Interval(0.0, 0.0, 0.0, 80)
    monkeypatch.setattr(module, "DRAWS", 240)  # three resamples at a time
    assert bootstrap_ratio(parts, wholes, resamples=100).mean == found.mean


def test_ratios_that_are_none():
    for parts, wholes in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, NAN], [1.0, 1.0]), ([1.0, 2.0], [1.0, 0.0])):
        with pytest.raises(InputError, match="2 or more of both without NaN"):
            bootstrap_ratio(parts, wholes)
    with pytest.raises(InputError, match="infinite"):
        bootstrap_ratio([1.0, float("inf")], [1.0, 1.0])
    with pytest.raises(InputError, match="3 entries and other_parts 2"):
        paired_bootstrap_ratio([1.0] * 3, [1.0] * 3, [1.0] * 2, [1.0] * 2)
    with pytest.raises(InputError, match="level is 1"):
        bootstrap_ratio([1.0, 2.0], [1.0, 1.0], level=1)


def test_resampled_means_against_loops():
    """Prompts of each group among their own, the same ones for every row, those without a value left out."""
    values = np.random.default_rng(5).random((3, 9))
    values[1, 2:5] = NAN
    groups = np.array(["b", "a", "b", "a", "a", "b", "b", "a", "c"])
    found = resampled_means(values, groups, 50, seed=7)
    generators = dict(zip("bac", np.random.default_rng(7).spawn(3), strict=True))
    places = {name: np.flatnonzero(groups == name) for name in "bac"}
    counts = {name: generators[name].multinomial(len(p), np.full(len(p), 1 / len(p)), 50) for name, p in places.items()}
    for number, row in enumerate(found):
        drawn = [i for name, p in places.items() for i in np.repeat(p, counts[name][number])]
        assert len(drawn) == 9
        assert drawn.count(8) == 1
        assert row == pytest.approx([np.mean([v[i] for i in drawn if not np.isnan(v[i])]) for v in values])
    low, high = percentiles(found, 0.9)
    assert low == pytest.approx(np.quantile(found, 0.05, axis=0))
    assert high == pytest.approx(np.quantile(found, 0.95, axis=0))


def test_resampled_means_of_nothing_and_of_one_group():
    rows = np.stack([np.arange(30.0), np.full(30, NAN), np.where(np.arange(30) == 4, 1.0, NAN)])
    found = resampled_means(rows, np.zeros(30), 2000)
    assert np.isnan(found[:, 1]).all()
    # One prompt has a value: it is drawn in all but (29/30)^30 of the resamples, always with that value.
    assert np.isnan(found[:, 2]).mean() == pytest.approx((29 / 30) ** 30, abs=0.04)
    low, high = percentiles(found)
    assert np.isnan([low[1], high[1]]).all()
    assert (low[2], high[2]) == (1, 1)
    plain = bootstrap_interval(rows[0])
    assert (low[0], high[0]) == pytest.approx((plain.low, plain.high), rel=0.05)
    with pytest.raises(InputError, match=r"shape \(3, 30\) and groups \(2,\)"):
        resampled_means(rows, [1, 2])
    with pytest.raises(InputError, match="infinite value"):
        resampled_means([[np.inf, 1]], [0, 0])
