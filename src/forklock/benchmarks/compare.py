"""Comparisons in the parent, of values and of printed lines that a program gave with those that were expected."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal, InvalidOperation

from forklock.benchmarks.score import Difference


def same_value(got: object, expected: object) -> bool:
    """Equal as in Python, save that a truth value equals no number. Both hold builtin types only.

    1 equals 1.0, "2" is not 2, True is not 1, and a tuple is not a list, at any depth, as keys and in sets too.
    """
    if isinstance(got, bool) or isinstance(expected, bool):
        return got is expected
    if isinstance(got, list | tuple) and isinstance(expected, list | tuple):
        if isinstance(got, list) is not isinstance(expected, list) or len(got) != len(expected):
            return False
        return all(same_value(one, other) for one, other in zip(got, expected, strict=True))
    if isinstance(got, dict) and isinstance(expected, dict):
        return _same_members(got, expected) and all(same_value(value, expected[key]) for key, value in got.items())
    if isinstance(got, set | frozenset) and isinstance(expected, set | frozenset):
        return _same_members(got, expected)
    return got == expected


def _same_members(got: Collection[object], expected: Collection[object]) -> bool:
    """Of keys or sets. No table is made of what a program gave: it may have chosen members whose hashes are one."""
    if len(got) != len(expected):
        return False
    twins = {member: member for member in expected}
    return all(member in twins and same_value(member, twins[member]) for member in got)


def identical(got: object, expected: object) -> bool:
    """Equal, and of the same types all the way down. False where it can't be told cheaply, as of sets."""
    if type(got) is not type(expected):
        return False
    if isinstance(got, list | tuple) and isinstance(expected, list | tuple):
        return len(got) == len(expected) and all(map(identical, got, expected))
    if isinstance(got, dict) and isinstance(expected, dict):
        return identical(list(got), list(expected)) and identical(list(got.values()), list(expected.values()))
    return not isinstance(got, set | frozenset) and got == expected


def show_value(value: object) -> str:
    """Its `repr`; a number too long to be written out is named so."""
    try:
        return repr(value)
    except ValueError:
        return f"a value of type {type(value).__name__} with an integer too long to show"


def lines_differ(printed: str, expected: str) -> Difference | None:
    """LiveCodeBench's rule: both stripped, lines stripped; each line equal as text, else as decimal numbers."""
    printed, expected = printed.strip(), expected.strip()
    num_printed, num_expected = printed.count("\n") + 1, expected.count("\n") + 1
    if num_printed != num_expected:  # before millions of lines are taken apart
        return Difference(f"{num_expected} lines: {expected}", f"{num_printed} lines: {printed}")
    for got, wanted in zip(_lines(printed), _lines(expected), strict=True):
        if got != wanted and not _same_numbers(got, wanted):
            return Difference(wanted, got)
    return None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]


def _same_numbers(got: str, wanted: str) -> bool:
    try:
        return [Decimal(word) for word in got.split()] == [Decimal(word) for word in wanted.split()]
    except (InvalidOperation, ValueError):
        return False
