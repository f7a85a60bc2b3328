"""Values compared in the parent: against a rule that tries every pairing, and against chosen hashes."""

from __future__ import annotations

import sys
import tracemalloc
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklock.benchmarks.compare import identical, lines_differ, same_value

SCALARS = st.sampled_from([True, False, 0, 1, 2, 1.0, 0.0, "1", None])
KEYS = st.recursive(
    SCALARS, lambda keys: st.tuples(keys) | st.tuples(keys, keys) | st.frozensets(keys, max_size=3), max_leaves=4
)
VALUES = st.recursive(
    KEYS | st.sets(KEYS, max_size=3),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(KEYS, values, max_size=3),
    max_leaves=5,
)


def same_by_pairing(got: Any, expected: Any) -> bool:
    """The rule, slowly: members and items may be paired in any order."""
    if isinstance(got, bool) or isinstance(expected, bool):
        return got is expected
    for kinds in (set | frozenset, dict):
        if isinstance(got, kinds) and isinstance(expected, kinds):
            of_got, of_expected = (tuple(x.items()) if isinstance(x, dict) else tuple(x) for x in (got, expected))
            return len(got) == len(expected) and any(
                all(map(same_by_pairing, order, of_expected)) for order in permutations(of_got)
            )
    if isinstance(got, list | tuple) and type(got) is type(expected):
        return len(got) == len(expected) and all(map(same_by_pairing, got, expected))
    return bool(got == expected)


@given(VALUES, VALUES)
def test_values_are_the_same_where_some_pairing_says_so(one: Any, other: Any) -> None:
    assert same_value(one, other) is same_by_pairing(one, other)
    assert same_value(one, one)


def number_for_truth(value: Any) -> Any:
    if isinstance(value, dict):
        return {number_for_truth(key): number_for_truth(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(map(number_for_truth, value))
    return int(value) if isinstance(value, bool) else value


@given(VALUES)
def test_a_number_in_a_truth_value_s_place_is_seen_at_any_depth(value: Any) -> None:
    changed = number_for_truth(value)
    assert changed == value
    assert (
        same_value(changed, value)
        is same_value(value, changed)
        is ("True" not in repr(value) and "False" not in repr(value))
    )


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ({True: 1}, {1: 1}),
        ({True}, {1}),
        ({(1, (False,))}, {(1, (0,))}),
        ({frozenset({True}): 0}, {frozenset({1}): 0}),
        ({"a", 1, (2, frozenset({(1, "b")}))}, {"a", 1, (2, frozenset({(True, "b")}))}),
    ],
)
def test_keys_and_members_that_python_takes_for_one(got: Any, expected: Any) -> None:
    assert got == expected
    assert not same_value(got, expected)
    assert not same_value(expected, got)
    assert not identical(got, expected)


def test_lines_that_are_too_many_are_counted_not_kept() -> None:
    """5,000,000 of them as texts of their own would take 300 MiB."""
    printed = "ab\n" * 5_000_000
    tracemalloc.start()
    try:
        found = lines_differ(printed, "3\n")
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert found is not None
    assert found.expected == "1 lines: 3"
    assert found.got.startswith("5000000 lines: ab\nab\n")


class Counted(int):
    """Has the hash of all others, and counts how often it is compared."""

    num_compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.num_compared += 1
        return int(self) == other

    def __hash__(self) -> int:
        return 0


def test_hashes_that_a_program_chose_cost_no_comparison_of_its_members_with_each_other() -> None:
    got = {Counted(number * sys.hash_info.modulus) for number in range(1, 101)}
    keys = dict.fromkeys(got)
    Counted.num_compared = 0
    assert not same_value(got, set(range(100)))
    assert not same_value(keys, dict.fromkeys(range(100)))
    assert Counted.num_compared <= 2 * len(got)
