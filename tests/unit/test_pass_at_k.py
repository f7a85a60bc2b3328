"""pass@k, budgets and intervals against brute force and closed forms."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from forklock.evaluate.budgets import pass_at_budget
from forklock.evaluate.intervals import EXACT_UP_TO, interval, paired_difference, sign_flip_p_value
from forklock.evaluate.pass_at_k import UnevenSamplesError, check_even, pass_at_k


def test_it_is_the_share_of_all_subsets_that_hold_a_right_sample() -> None:
    for n in range(1, 9):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(itertools.combinations(range(n), k))
                share = sum(any(index < c for index in subset) for subset in subsets) / len(subsets)
                found = pass_at_k(n, c, k)
                assert found is not None
                assert found == pytest.approx(share, abs=1e-15)


def test_it_is_exact_for_many_samples() -> None:
    n, k = 1000, 256
    passed = np.array([0, 1, 2, 10, 500, 744, 745, 999, 1000])
    exact = [float(1 - Fraction(math.comb(n - int(c), k), math.comb(n, k))) for c in passed]
    found = pass_at_k(n, passed, k)
    assert found is not None
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_it_is_undefined_above_the_number_of_samples() -> None:
    assert pass_at_k([10, 10], [3, 10], 11) is None
    assert pass_at_k([10, 4], [3, 4], 5) is None
    assert pass_at_k([], [], 1) is None
    with pytest.raises(AssertionError):
        pass_at_k(10, 11, 1)


def test_it_is_the_mean_for_one_sample_and_unbiased_for_more() -> None:
    """Drawn again and again, its mean is what k fresh samples would give."""
    generator = np.random.default_rng(0)
    passed = generator.binomial(12, 0.3, size=200_000)
    one, five = pass_at_k(12, passed, 1), pass_at_k(12, passed, 5)
    assert one is not None
    assert five is not None
    np.testing.assert_allclose(one, passed / 12, atol=1e-15)
    assert five.mean() == pytest.approx(1 - 0.7**5, abs=4 * five.std() / math.sqrt(five.size))


def test_numbers_of_samples_are_checked() -> None:
    assert check_even({"a": 10, "b": 10}, "x") == 10
    with pytest.raises(UnevenSamplesError, match="x: problem b has 9 samples and problem a has 10"):
        check_even({"a": 10, "b": 9, "c": 10}, "x")


def test_an_interval_is_that_of_the_normal_approximation_for_many_problems() -> None:
    values = np.random.default_rng(1).random(1000)
    found = interval(values, seed=0)
    half = 1.96 * values.std() / math.sqrt(values.size)
    assert found.mean == values.mean()
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)


def test_an_interval_of_few_problems_is_the_exact_bootstrap_s() -> None:
    values = np.array([0.0, 0.25, 1.0])
    means = sorted(np.mean(chosen) for chosen in itertools.product(values, repeat=3))
    found = interval(values, seed=0)
    assert found.low == pytest.approx(np.quantile(means, 0.025, method="inverted_cdf"))
    assert found.high == pytest.approx(np.quantile(means, 0.975, method="inverted_cdf"))


def test_an_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(300):
        found = interval(generator.binomial(10, 0.4, size=120) / 10, seed=trial)
        covered += found.low <= 0.4 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_problems_that_agree_have_no_width_and_seeds_decide_the_rest() -> None:
    assert interval(np.full(7, 0.5), seed=3) == interval(np.full(7, 0.5), seed=4)
    found = interval(np.full(7, 0.5), seed=3)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    values = np.random.default_rng(0).random(50)
    assert interval(values, seed=1) == interval(values, seed=1)
    assert interval(values, seed=1) != interval(values, seed=2)


def test_sign_flips_of_few_problems_are_all_tried() -> None:
    differences = np.array([0.1, 0.2, -0.1, 0.0, 0.3])
    patterns = [np.dot(signs, differences) for signs in itertools.product((-1, 1), repeat=5)]
    exact = np.mean([abs(found) >= abs(differences.sum()) - 1e-12 for found in patterns])
    assert sign_flip_p_value(differences, seed=0) == exact
    assert sign_flip_p_value(np.zeros(5), seed=0) == 1.0
    assert sign_flip_p_value(np.array([0.2]), seed=0) == 1.0


def test_sign_flips_of_many_problems_agree_with_scipy() -> None:
    differences = np.random.default_rng(5).normal(0.15, 1.0, size=150)
    assert differences.size > EXACT_UP_TO
    peer = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(0)
    )
    assert sign_flip_p_value(differences, seed=0) == pytest.approx(peer.pvalue, abs=0.02)


def test_sign_flips_reject_by_chance_as_often_as_they_say() -> None:
    generator = np.random.default_rng(7)
    p_values = [sign_flip_p_value(generator.normal(size=30), seed=trial) for trial in range(300)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.09
    assert np.mean(np.array(p_values) <= 0.5) == pytest.approx(0.5, abs=0.1)


def test_a_paired_difference_is_narrower_than_its_sides_and_turns_round() -> None:
    generator = np.random.default_rng(3)
    first = generator.random(300)
    second = np.clip(first + 0.05 + 0.01 * generator.standard_normal(300), 0, 1)
    found, turned = paired_difference(first, second, seed=0), paired_difference(second, first, seed=0)
    side = interval(second, seed=0)
    assert found.high - found.low < 0.2 * (side.high - side.low)
    assert 0.04 < found.low < found.mean < found.high < 0.06
    assert turned.mean == -found.mean
    assert found.p_value == pytest.approx(1 / 10_001)
    assert (found.num_better, found.num_worse) == (turned.num_worse, turned.num_better)


def test_a_budget_of_k_equal_samples_is_pass_at_k() -> None:
    generator = np.random.default_rng(0)
    passed = generator.random((400, 8)) < 0.3
    tokens = np.full((400, 8), 100)
    for k in (1, 3, 8):
        exact = pass_at_k(8, passed.sum(axis=1), k)
        found = pass_at_budget(tokens, passed, 100 * k + 50 * (k < 8), seed=1)
        assert exact is not None
        assert found is not None
        assert found.mean() == pytest.approx(exact.mean(), abs=0.005)
    assert pass_at_budget(tokens, passed, 801, seed=1) is None


def test_a_budget_is_spent_in_random_order() -> None:
    tokens, passed = np.array([[10, 20, 30, 45]]), np.array([[False, True, False, True]])
    for budget in (5, 25, 45, 60, 105):
        hits = []
        for order in itertools.permutations(range(4)):
            spent = np.cumsum(tokens[0, list(order)])
            hits.append(bool((passed[0, list(order)] & (spent <= budget)).any()))
        found = pass_at_budget(tokens, passed, budget, seed=2)
        assert found is not None
        assert found[0] == pytest.approx(np.mean(hits), abs=0.07)
    assert pass_at_budget(tokens, passed, 106, seed=2) is None
