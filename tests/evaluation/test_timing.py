"""Timing in turn, and a command that times by it."""

import sys

import numpy as np

from benchmarks import language_overhead
from dsas_diffusion.evaluation.timing import in_turn, ratio


def test_each_round_begins_with_another_and_the_first_does_not_count():
    turns = list(in_turn(["a", "b", "c"], rounds=3))
    assert [name for name, _ in turns] == [*"abc", *"bca", *"cab", *"abc"]
    assert [counts for _, counts in turns] == [False] * 3 + [True] * 9


def test_a_ratio_is_that_of_pairs_with_its_interval():
    base = np.linspace(1, 2, 40)
    found = ratio(1.5 * base, base)
    assert np.allclose(found, 1.5)  # noise that both share cancels
    noise = np.random.default_rng(0).normal(1.1, 0.05, 40)
    middle, low, high = ratio(noise * base, base)
    assert low < middle < high
    assert middle == np.median(noise * base / base)


def test_the_cost_of_steering_a_language_model_is_a_row_a_variant(capsys, monkeypatch):
    small = ["--layers", "1", "--width", "32", "--texts", "2", "--tokens", "2", "--rounds", "3", "--sites", "attention"]
    monkeypatch.setattr(sys, "argv", ["language_overhead", *small])
    language_overhead.main()
    printed = capsys.readouterr().out
    assert [printed.count(name) for name in ("unsteered", "vanilla", "DSAS")] == [1, 1, 1]
