"""How means, differences, their intervals and decodings are written, in tables, sentences, figures and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forklock.decoding import Decoding


def in_percent(found: Mapping[str, Any]) -> tuple[str, str]:
    """An estimate and its interval, as "26.9" and "23.9 to 29.8"."""
    mean, low, high = (f"{100 * found[key]:.1f}" for key in ("mean", "low", "high"))
    return mean, f"{low} to {high}"


def in_points(found: Mapping[str, Any]) -> tuple[str, str]:
    """A difference and its interval, signed, as "+5.5" and "+3.5 to +7.5"; what rounds to 0 is "+0.0"."""
    mean, low, high = (f"{100 * found[key]:+z.1f}" for key in ("mean", "low", "high"))
    return mean, f"{low} to {high}"


def setting_text(decoding: Mapping[str, Any]) -> str:
    """A decoding of the JSON, as "T=1.6 k=20 p=0.8"."""
    return str(Decoding(**decoding))
