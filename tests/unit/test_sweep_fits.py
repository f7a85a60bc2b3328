"""Quadratic fits: known coefficients come back, another implementation agrees, and what is undefined says so."""

from __future__ import annotations

import numpy as np
import pytest

from forklock.sweep.fits import fit_quadratic


@pytest.mark.parametrize(("a", "b", "c"), [(-0.4, 0.9, 0.1), (-2.0, 5.0, -3.0), (0.3, -0.2, 0.5), (-1e-3, 4e-3, 0.4)])
def test_known_coefficients_come_back(a: float, b: float, c: float) -> None:
    x = np.array([0.35, 0.5, 0.7, 0.7, 1.12, 1.4, 2.0])
    fit = fit_quadratic(x, a * x**2 + b * x + c)
    assert fit is not None
    assert (fit.a, fit.b, fit.c) == pytest.approx((a, b, c), rel=1e-9, abs=1e-12)
    assert fit.r_squared == pytest.approx(1.0, abs=1e-12)
    if a < 0:
        assert fit.peak == pytest.approx(-b / (2 * a), rel=1e-9)
        assert fit.is_peak_inside is bool(0.35 <= -b / (2 * a) <= 2.0)
        assert fit.at(fit.peak) == pytest.approx(c - b**2 / (4 * a), rel=1e-9)
    else:
        assert fit.peak is None
        assert not fit.is_peak_inside


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_fit_of_least_squares(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.uniform(0.3, 3.0, 30)
    y = 0.4 - 0.1 * (x - 1.2) ** 2 + generator.normal(0, 0.02, 30)
    fit = fit_quadratic(x, y)
    assert fit is not None
    a, b, c = np.polyfit(x, y, 2)
    assert (fit.a, fit.b, fit.c) == pytest.approx((a, b, c), rel=1e-8)
    residual = ((y - np.polyval([a, b, c], x)) ** 2).sum()
    assert fit.r_squared == pytest.approx(1 - residual / ((y - y.mean()) ** 2).sum(), rel=1e-9)
    assert fit.peak == pytest.approx(-b / (2 * a), rel=1e-8)
    assert (fit.num_points, fit.num_distinct) == (30, 30)


@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0], [1.0, 2.0, 1.0, 2.0]])
def test_fewer_than_three_temperatures_are_undefined(x: list[float]) -> None:
    assert fit_quadratic(x, [0.1 * value for value in x]) is None


def test_products_that_are_equal_on_paper_are_one_temperature() -> None:
    products = [train * at for train in (0.8, 1.2) for at in (0.9, 0.6)]
    assert len(set(products)) == 4
    fit = fit_quadratic(products, [0.1, 0.3, 0.2, 0.1])
    assert fit is not None
    assert fit.num_distinct == 3


def test_equal_values_have_no_peak_and_nothing_to_explain() -> None:
    fit = fit_quadratic([0.5, 1.0, 1.5, 2.0], [0.3] * 4)
    assert fit is not None
    assert (fit.r_squared, fit.peak, fit.is_peak_inside) == (None, None, False)


def test_a_straight_line_has_no_peak() -> None:
    x = [0.5, 0.9, 1.5, 2.0]
    fit = fit_quadratic(x, [0.1 + 0.2 * value for value in x])
    assert fit is not None
    assert fit.peak is None
    assert fit.r_squared == pytest.approx(1.0)


def test_a_peak_outside_the_points_is_marked() -> None:
    x = np.array([0.5, 0.8, 1.0, 1.2])
    fit = fit_quadratic(x, 1 - (x - 2.5) ** 2)
    assert fit is not None
    assert fit.peak == pytest.approx(2.5)
    assert not fit.is_peak_inside
