"""Quadratics through pass@k over the effective temperature (Figures 3a and 9), and how much of it they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

MIN_DISTINCT = 3
"""Temperatures that a quadratic needs. With just so many it goes through each of their means."""


@dataclass(frozen=True)
class QuadraticFit:
    """y = a x^2 + b x + c by least squares."""

    a: float
    b: float
    c: float
    r_squared: float | None
    """1 - (squares of the residuals) / (squares about the mean); None where all y are equal."""
    peak: float | None
    """Where the fit is highest; None where it opens upward or is straight. It may lie outside the points."""
    is_peak_inside: bool
    num_points: int
    num_distinct: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def at(self, x: float) -> float:
        return (self.a * x + self.b) * x + self.c


def fit_quadratic(xs: Sequence[float], ys: Sequence[float]) -> QuadraticFit | None:
    """None, undefined, with fewer than three different x."""
    x, y = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
    assert x.shape == y.shape
    num_distinct = len(np.unique(x.round(9)))  # 0.8 x 0.9 and 1.2 x 0.6 differ in their last bit
    if num_distinct < MIN_DISTINCT:
        return None
    # About the middle and in units of the spread, so that the three columns are of one size.
    middle, spread = float(x.mean()), float(x.std())
    z = (x - middle) / spread
    (p, q, r), *_ = np.linalg.lstsq(np.stack([z**2, z, np.ones_like(z)], axis=1), y)
    a = p / spread**2
    b = q / spread - 2 * a * middle
    c = r - q * middle / spread + a * middle**2
    residual = float(((y - (p * z**2 + q * z + r)) ** 2).sum())
    about_mean = float(((y - y.mean()) ** 2).sum())
    scale = float(np.abs(y).max())
    # What rounding leaves of equal values is no spread, and of a straight line no bend.
    is_flat = about_mean <= len(y) * (1e-12 * scale) ** 2
    peak = middle - spread * q / (2 * p) if p < -1e-9 * max(scale, 1e-300) else None
    return QuadraticFit(
        a=float(a),
        b=float(b),
        c=float(c),
        r_squared=None if is_flat else 1 - residual / about_mean,
        peak=None if peak is None or is_flat else float(peak),
        is_peak_inside=peak is not None and not is_flat and bool(x.min() <= peak <= x.max()),
        num_points=len(x),
        num_distinct=num_distinct,
    )
