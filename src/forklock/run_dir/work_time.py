"""When stages were at work, and how much of that time was theirs where several worked at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from forklock.run_dir.provenance import Attempt

Interval = tuple[float, float]
"""Begin and end, in seconds of any clock."""


def intervals_at_work(attempts: Iterable[Attempt]) -> list[Interval]:
    """Those left out that did not live to say how long they took."""
    begun = [(datetime.fromisoformat(each.started).timestamp(), each.duration_s) for each in attempts]
    return [(begin, begin + duration_s) for begin, duration_s in begun if duration_s is not None]


def seconds_at_work(intervals: Sequence[Interval]) -> float:
    """The time covered by any of them, counted once."""
    return _seconds_of_each({"all": intervals})["all"]


def shares_of_time(intervals_of: Mapping[str, Sequence[Interval]]) -> dict[str, float]:
    """Each name's time, every moment counted as one part in as many as were at work in it, over its whole time.

    One alone has 1. Times multiplied by shares add up to the time in which anything was at work.
    """
    counted = _seconds_of_each(intervals_of)
    whole = {name: sum(end - begin for begin, end in intervals) for name, intervals in intervals_of.items()}
    return {name: counted[name] / whole[name] if whole[name] else 1.0 for name in intervals_of}


def _seconds_of_each(intervals_of: Mapping[str, Sequence[Interval]]) -> dict[str, float]:
    """Each moment is divided by those that were at work in it."""
    counted: dict[str, float] = dict.fromkeys(intervals_of, 0.0)
    moments = sorted({moment for intervals in intervals_of.values() for interval in intervals for moment in interval})
    changes: dict[float, list[tuple[int, str]]] = {moment: [] for moment in moments}
    for name, intervals in intervals_of.items():
        for begin, end in intervals:
            changes[begin].append((1, name))
            changes[end].append((-1, name))
    at_work: dict[str, int] = dict.fromkeys(intervals_of, 0)
    for index, moment in enumerate(moments):
        for change, name in changes[moment]:
            at_work[name] += change
        busy = [name for name, number in at_work.items() if number]
        for name in busy:
            counted[name] += (moments[index + 1] - moment) / len(busy)
    return counted
