"""pass@k, budgets and intervals against brute force and closed forms."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from forklock.benchmarks import VerdictName
from forklock.evaluate.budgets import Budget, pass_at_samples
from forklock.evaluate.intervals import EXACT_UP_TO, interval, paired_difference, sign_flip_p_value
from forklock.evaluate.metrics import MetricsError, Point, Pool, compare, compare_at_budgets, scores
from forklock.evaluate.pass_at_k import UnevenSamplesError, check_even, pass_at_k
from forklock.evaluate.verdicts import Verdict


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


@pytest.mark.parametrize("k", [0.0, 0.3, 1.0, 2.0, 2.75, 4.999, 5.0])
def test_part_of_a_sample_is_a_sample_now_and_then(k: float) -> None:
    """Against all subsets of both sizes that it may mean."""
    n = 5
    for c in range(n + 1):
        expected = 0.0
        for size, share in ((math.floor(k), 1 - (k - math.floor(k))), (math.floor(k) + 1, k - math.floor(k))):
            subsets = list(itertools.combinations(range(n), size))
            right = [any(index < c for index in subset) for subset in subsets]
            expected += share * (sum(right) / len(subsets) if subsets else 0.0)
        found = pass_at_samples([n], [c], k)
        assert found is not None
        assert found[0] == pytest.approx(expected, abs=1e-15)
        assert pass_at_samples([n], [c], n + 0.01) is None


def test_pass_at_part_of_a_sample_is_unbiased() -> None:
    """Closed form: 4 samples are all wrong with 0.7^4, and a fifth, taken 8 times of 10, is right with 0.3."""
    generator = np.random.default_rng(4)
    found = pass_at_samples(5, generator.binomial(5, 0.3, size=200_000), 4.8)
    assert found is not None
    exact = 1 - 0.7**4 * (1 - 0.8 * 0.3)
    assert found.mean() == pytest.approx(exact, abs=4 * found.std() / math.sqrt(found.size))


def test_a_budget_is_what_the_terser_model_needs() -> None:
    assert Budget.matched(5, 50.0, 50.0) == Budget(250.0, 5.0, 5.0)
    assert Budget.matched(5, 50.0, 100.0) == Budget(250.0, 5.0, 2.5)
    assert Budget.matched(5, 100.0, 40.0) == Budget(200.0, 2.0, 5.0)
    for first, second in ((49.3, 50.7), (1 / 3, 0.7), (1e6 / 7, 3.0)):
        budget = Budget.matched(5, first, second)
        assert max(budget.first_samples, budget.second_samples) == 5
        # As many tokens on both sides, up to rounding.
        assert budget.first_samples * first == pytest.approx(budget.second_samples * second, rel=1e-15)


def _point(title: str, passed: NDArray[np.bool_], num_tokens: int) -> Point:
    verdicts = [
        Verdict(
            problem_id=f"p{problem:03}",
            sample_index=index,
            verdict=VerdictName.PASSED if one else VerdictName.WRONG_ANSWER,
            difficulty=None,
            failing_test=None if one else 0,
            expected="",
            got="",
            cause="",
            num_tests_run=1,
            num_tests_passed=None,
            cpu_s=0.1,
            peak_memory_bytes=1,
            is_isolated=True,
            code_hash="",
            num_code_blocks=1,
            num_tokens=num_tokens,
            finish_reason="stop",
        )
        for problem, row in enumerate(passed)
        for index, one in enumerate(row)
    ]
    return Point.of(title, verdicts)


def test_what_longer_answers_buy_is_taken_off() -> None:
    """A model whose answers are twice as long is put against the other with half as many samples."""
    generator = np.random.default_rng(0)
    short, long = generator.random((60, 5)) < 0.3, generator.random((60, 5)) < 0.5
    base, student = _point("base", short, 40), _point("student", long, 80)
    found = compare_at_budgets(base, student, [1, 5])
    assert found is not None
    one, five = found["k=1"], found["k=5"]
    assert (one["budget_tokens"], five["budget_tokens"]) == (40, 200)
    assert (five["first_samples"], five["second_samples"]) == (5, 2.5)
    assert one["first"]["mean"] == pytest.approx(short.mean())
    assert one["second"]["mean"] == pytest.approx(long.mean() / 2)
    assert five["first"]["mean"] == pytest.approx(short.any(axis=1).mean())
    halves = [long[:, list(subset)].any(axis=1) for size in (2, 3) for subset in itertools.combinations(range(5), size)]
    assert five["second"]["mean"] == pytest.approx(np.mean(halves))  # ten pairs, ten triples
    assert five["difference"]["mean"] == pytest.approx(np.mean(halves) - short.any(axis=1).mean())
    turned = compare_at_budgets(student, base, [5])
    assert turned is not None
    assert turned["k=5"]["difference"]["mean"] == pytest.approx(-five["difference"]["mean"])


def test_models_trained_with_other_seeds_are_replicates() -> None:
    """Against the same by hand: a problem's value is its mean over the seeds, a resample draws problems."""
    generator = np.random.default_rng(1)
    base = _point("base", generator.random((80, 5)) < 0.3, 40)
    seeds = [generator.random((80, 5)) < share for share in (0.35, 0.4, 0.45)]
    pool = Pool("+SSD", [_point(f"seed {number}", passed, 40) for number, passed in enumerate(seeds)])
    per_problem = sum(passed.mean(axis=1) for passed in seeds) / 3
    difference = per_problem - base.passed.mean(axis=1)
    found = compare(base, pool, [1])["all"]["pass@1"]
    assert found["mean"] == pytest.approx(difference.mean())
    means = [difference[generator.integers(0, 80, 80)].mean() for _ in range(20_000)]
    half = (found["high"] - found["low"]) / 2
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.05 * half)
    assert scores(pool, [1])["all"]["pass@1"]["mean"] == pytest.approx(per_problem.mean())
    # Narrower than any single seed's: their own noise is averaged.
    alone = [compare(base, point, [1])["all"]["pass@1"] for point in pool.points]
    assert half < min(each["high"] - each["low"] for each in alone) / 2
    with pytest.raises(MetricsError, match="can't be pooled"):
        Pool("+SSD", [pool.points[0], _point("fewer", seeds[1][:40], 40)])
