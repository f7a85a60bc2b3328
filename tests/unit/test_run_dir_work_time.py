"""How long stages took together, and what part of that time was each one's."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from forklock.run_dir.provenance import Attempt
from forklock.run_dir.work_time import Interval, intervals_at_work, seconds_at_work, shares_of_time


def test_time_side_by_side_is_shared_and_none_of_it_lost() -> None:
    intervals = {
        "alone": [(0.0, 4.0)],
        "long": [(4.0, 14.0)],
        "short": [(6.0, 10.0), (20.0, 22.0)],
        "instant": [(5.0, 5.0)],
    }
    shares = shares_of_time(intervals)
    assert shares == pytest.approx({"alone": 1, "long": (2 + 4 / 2 + 4) / 10, "short": (4 / 2 + 2) / 6, "instant": 1})
    whole = {name: sum(end - begin for begin, end in each) for name, each in intervals.items()}
    assert sum(shares[name] * whole[name] for name in intervals) == 4 + 10 + 2


def test_time_side_by_side_is_counted_once() -> None:
    """Against another reckoning, second by second; and shares add up to the same."""
    chance = random.Random(3)
    begun = [(chance.randrange(100), chance.choice([0, 1, 7, 40])) for _ in range(12)]
    seconds = {second for begin, length in begun for second in range(begin, begin + length)}
    intervals: dict[str, list[Interval]] = {
        str(number): [(begin, begin + length)] for number, (begin, length) in enumerate(begun)
    }
    assert seconds_at_work([interval for [interval] in intervals.values()]) == len(seconds)
    shares = shares_of_time(intervals)
    assert sum(shares[str(number)] * length for number, (_, length) in enumerate(begun)) == pytest.approx(len(seconds))
    assert len(seconds) < sum(length for _, length in begun)


def test_an_attempt_that_was_killed_has_no_time() -> None:
    first = datetime(2026, 1, 2, tzinfo=UTC)
    attempts = [
        Attempt.model_construct(started=first.isoformat(), duration_s=None),
        Attempt.model_construct(started=(first + timedelta(hours=1)).isoformat(), duration_s=2.5),
    ]
    begin = first.timestamp() + 3600
    assert intervals_at_work(attempts) == [(begin, begin + 2.5)]
