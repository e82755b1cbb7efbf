"""Fronts and hypervolumes against brute force, a hand-computed staircase and Monte Carlo; the paired bootstrap."""

import numpy as np
import pytest

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation import bootstrap
from dsas_diffusion.evaluation.pareto import Curve, areas, heights, hypervolume, paired_hypervolume, pareto_front

NAN = float("nan")
STAIRCASE = [(0.0, 1.0), (0.25, 0.9), (0.5, 0.6), (0.4, 0.5), (1.0, 0.2)]


def curve(removal: float, preservation: float, seed: int, strengths: int = 4, prompts: int = 24) -> Curve:
    """Removal that grows and preservation that falls over λ, prompt by prompt, around the wanted means."""
    noise = np.random.default_rng(seed)
    steps = np.linspace(0.3, 1, strengths)[:, None]
    return Curve(
        (noise.random((strengths, prompts)) < removal * steps).astype(float),
        1 - (1 - preservation) * steps + noise.normal(0, 0.02, (strengths, prompts)),
    )


def loops(curve: Curve, drawn: np.ndarray, kept: np.ndarray) -> float:
    """The hypervolume of resampled means, written without matrices."""
    points = [
        (np.mean([row[i] for i in drawn]), np.mean([other[i] for i in kept]))
        for row, other in zip(curve.removal, curve.preservation, strict=True)
    ]
    return on_grid(points, 400)


def on_grid(points, cells: int, reference=(0.0, 0.0)) -> float:
    """Area by counting the cells of a grid over [0, 1]² whose middle a point dominates."""
    middles = (np.arange(cells) + 0.5) / cells
    x, y = np.meshgrid(middles, middles)
    dominated = np.zeros_like(x, dtype=bool)
    for r, p in points:
        dominated |= (x < r) & (y < p) & (x > reference[0]) & (y > reference[1])
    return dominated.mean()


def test_staircase_by_hand():
    assert pareto_front(STAIRCASE).tolist() == [True, True, True, False, True]
    assert hypervolume(STAIRCASE) == pytest.approx(0.25 * 0.9 + 0.25 * 0.6 + 0.5 * 0.2)
    assert hypervolume(STAIRCASE, (0.3, 0.4)) == pytest.approx(0.2 * 0.2)
    assert hypervolume([(1, 1)]) == 1
    assert hypervolume([(0, 1)]) == 0  # λ = 0 removes nothing
    assert hypervolume([(-0.5, 0.5), (0.5, -0.5)]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_against_brute_force_on_a_grid(seed):
    points = np.random.default_rng(seed).random((9, 2))
    assert hypervolume(points) == pytest.approx(on_grid(points, 1000), abs=2e-3)
    assert hypervolume(points, (0.2, 0.3)) == pytest.approx(on_grid(points, 1000, (0.2, 0.3)), abs=2e-3)
    front = [not any((q >= p).all() and (q > p).any() for q in points) for p in points]
    assert pareto_front(points).tolist() == front
    assert hypervolume(points[front]) == pytest.approx(hypervolume(points))


def test_against_monte_carlo():
    points = np.random.default_rng(7).random((6, 2))
    thrown = np.random.default_rng(8).random((200_000, 2))
    hit = (thrown[:, None] < points[None]).all(-1).any(-1).mean()
    assert hypervolume(points) == pytest.approx(hit, abs=0.005)


def test_equal_points_are_both_on_the_front_and_order_does_not_matter():
    points = np.array([(0.5, 0.5), (0.5, 0.5), (0.5, 0.4), (0.2, 0.5)])
    assert pareto_front(points).tolist() == [True, True, False, False]
    assert hypervolume(points) == hypervolume(points[::-1]) == 0.25


def test_resamples_against_loops():
    one, two = curve(0.9, 0.9, 1, prompts=5), curve(0.5, 0.7, 2, prompts=5)
    one, two = (Curve(c.removal, c.preservation[:, :3]) for c in (one, two))  # other counts of either kind
    seen, expected = [], []
    for seed in range(20):
        found = paired_hypervolume(one, two, resamples=1, seed=seed)
        assert found.low == found.high
        seen.append(found.low)
        indices = [
            np.repeat(np.arange(n), generator.multinomial(n, np.full(n, 1 / n)))
            for generator, n in zip(np.random.default_rng(seed).spawn(2), (5, 3), strict=True)
        ]
        expected.append(loops(one, *indices) - loops(two, *indices))
    assert seen == pytest.approx(expected, abs=0.01)
    assert np.ptp(seen) > 0.1
    assert found.mean == pytest.approx(loops(one, range(5), range(3)) - loops(two, range(5), range(3)), abs=0.01)
    assert found.count == 8


def test_one_strength_is_the_product_of_two_means():
    """With one λ on either side the area is removal × preservation, whose interval plain resampling gives as well."""
    one, two = curve(0.9, 0.9, 4, strengths=1), curve(0.6, 0.8, 5, strengths=1)
    noise = np.random.default_rng(6)
    resamples = []
    for _ in range(4000):
        i, j = noise.integers(24, size=24), noise.integers(24, size=24)
        areas = [c.removal[0, i].mean() * c.preservation[0, j].mean() for c in (one, two)]
        resamples.append(areas[0] - areas[1])
    low, high = np.quantile(resamples, [0.025, 0.975])
    found = paired_hypervolume(one, two)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_identical_and_clearly_different_arms():
    one, worse = curve(0.9, 0.9, 8), curve(0.4, 0.6, 9)
    same = paired_hypervolume(one, one)
    assert (same.low, same.mean, same.high) == (0, 0, 0)
    like = paired_hypervolume(one, curve(0.9, 0.9, 10))
    assert like.low < 0 < like.high
    apart = paired_hypervolume(one, worse)
    assert 0 < apart.low < apart.mean < apart.high
    turned = paired_hypervolume(worse, one)
    assert (turned.low, turned.high) == pytest.approx((-apart.high, -apart.low))


def test_prompts_stay_together():
    """Prompts that differ widely, and arms that differ by the same at each: the interval is narrow all the same."""
    hard = np.random.default_rng(11).random((1, 40))
    removal = np.repeat(hard, 3, axis=0)
    kept = np.ones((3, 40))
    found = paired_hypervolume(Curve(removal, kept), Curve(removal - 0.01, kept))
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))


def test_prompts_without_a_value_are_left_out_of_both():
    one, two = curve(0.9, 0.9, 12), curve(0.7, 0.8, 13)
    holed = Curve(one.removal.copy(), one.preservation)
    holed.removal[2, 5] = NAN
    without = [Curve(np.delete(c.removal, 5, axis=1), c.preservation) for c in (one, two)]
    assert paired_hypervolume(holed, two) == paired_hypervolume(*without)
    assert paired_hypervolume(holed, two).count == 23 + 24


def test_arms_may_have_other_strengths():
    one = curve(0.9, 0.9, 14)
    fewer = Curve(one.removal[:2], one.preservation[:2])
    assert paired_hypervolume(one, fewer).mean > 0


def test_seeds_and_parts_of_the_resamples(monkeypatch):
    one, two = curve(0.9, 0.9, 15), curve(0.7, 0.8, 16)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    whole = paired_hypervolume(one, two, resamples=501)
    assert whole == paired_hypervolume(one, two, resamples=501, seed=np.random.default_rng(0))
    assert whole != paired_hypervolume(one, two, resamples=501, seed=1)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    monkeypatch.setattr(bootstrap, "DRAWS", 48 * 100)  # a hundred resamples at a time
    assert paired_hypervolume(one, two, resamples=501) == whole


def test_bad_input():
    for wrong in ([1, 2], [(1, 2, 3)], np.zeros((0, 2))):
        with pytest.raises(InputError, match=r"points has the shape .* accepted is \(n, 2\)"):
            hypervolume(wrong)
    with pytest.raises(InputError, match="points holds NaN or an infinite value in row 1"):
        pareto_front([(0, 1), (NAN, 1)])
    one = curve(0.9, 0.9, 17)
    with pytest.raises(InputError, match=r"removal has the shapes \(4, 24\) and \(4, 3\)"):
        paired_hypervolume(one, Curve(one.removal[:, :3], one.preservation))
    with pytest.raises(InputError, match="other has 2 strengths of removal and 4 of preservation"):
        paired_hypervolume(one, Curve(one.removal[:2], one.preservation))
    with pytest.raises(InputError, match="0 prompts have a removal at every strength"):
        paired_hypervolume(one, Curve(np.full((4, 24), NAN), one.preservation))
    with pytest.raises(InputError, match="preservation holds an infinite value"):
        paired_hypervolume(one, Curve(one.removal, one.preservation + np.inf))
    for settings in ({"level": 1.0}, {"resamples": 0}):
        with pytest.raises(InputError, match="a level between 0 and 1"):
            paired_hypervolume(one, one, **settings)


def test_heights_are_the_staircase_and_many_fronts_go_at_once():
    points = np.random.default_rng(3).random((4, 6, 2))
    removals = np.linspace(0.0005, 0.9995, 1000)
    found = heights(points, removals)
    for one, height in zip(points, found, strict=True):
        assert height.tolist() == [max([p for r, p in one if r >= x], default=0) for x in removals]
        assert height.mean() == pytest.approx(hypervolume(one), abs=2e-3)  # the area is the integral
    assert areas(points) == pytest.approx([hypervolume(one) for one in points])
