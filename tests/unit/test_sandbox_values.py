"""Values cross from the child as data, with their exact types; nothing else crosses."""

from __future__ import annotations

import collections
import enum
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklock.sandbox.encoding import MAX_DEPTH, encode
from forklock.sandbox.values import Opaque, UnreadableValueError, decode

SCALARS: Any = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.binary()
    | st.text(st.characters())  # lone surrogates and NUL too
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.lists(inner).map(tuple) | st.frozensets(inner), max_leaves=8)
VALUES = st.recursive(
    HASHABLE, lambda inner: st.lists(inner) | st.sets(HASHABLE) | st.dictionaries(HASHABLE, inner), max_leaves=12
)


def shape(value: object) -> object:
    """Equal only where value and every type within are equal; without order where there is none."""
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(shape(item)) for item in value)
    if isinstance(value, dict):
        return dict, [(shape(key), shape(item)) for key, item in value.items()]
    return type(value), repr(value)


ALIKE = [number * ((1 << 61) - 1) for number in range(1, 200)]
"""They all have the hash 0, as the tuples and frozensets of each have one hash."""


@pytest.mark.parametrize(
    "value",
    [
        set(ALIKE),
        frozenset(ALIKE),
        dict.fromkeys(ALIKE),
        [{"a": (1, set(ALIKE))}],
        {(number, "a") for number in ALIKE},
        {frozenset({number}): 1 for number in ALIKE},
    ],
    ids=["set", "frozenset", "dict", "nested", "tuples", "frozensets"],
)
def test_what_would_take_quadratic_time_to_build_is_refused(value: object) -> None:
    with pytest.raises(UnreadableValueError, match="hashes alike"):
        decode(encode(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        set(range(100_000)),
        {str(number): number for number in range(100_000)},
        {(number, -number) for number in range(100_000)},
        set(ALIKE[:64]),
        ALIKE,
        dict(enumerate(ALIKE)),
        {1.0 * number for number in range(-1000, 1000)},
    ],
    ids=["ints", "texts", "tuples", "few alike", "a list", "values of a dict", "floats"],
)
def test_large_sets_and_dicts_still_come_back(value: object) -> None:
    assert decode(encode(value).encode()) == value


@given(VALUES)
def test_a_value_comes_back_with_every_type_it_had(value: object) -> None:
    assert shape(decode(encode(value).encode())) == shape(value)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, -0.0, 5e-324, 0.1])
def test_floats_come_back_to_the_last_bit(number: float) -> None:
    assert repr(decode(encode(number).encode())) == repr(number)


@pytest.mark.parametrize("number", [1 << 53, -(1 << 64), 10**10_000, -(7**9_999)], ids=["i", "j", "k", "l"])
def test_large_ints_come_back_whole(number: int) -> None:
    assert decode(encode(number).encode()) == number


def test_look_alikes_stay_apart() -> None:
    alike = [2, "2", 2.0, True, 1, 1.0, b"2", (2,), [2], {2}, frozenset({2}), None, "None", ["i", "2"], "l"]
    encoded = [encode(value) for value in alike]
    assert len(set(encoded)) == len(alike)
    assert [shape(decode(text.encode())) for text in encoded] == [shape(value) for value in alike]


def test_subclasses_come_back_as_what_they_extend() -> None:
    class Colour(enum.IntEnum):
        RED = 3

    class Always(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 0

    values = [collections.Counter("aab"), collections.OrderedDict(a=1), Colour.RED, Always("wrong")]
    back = decode(encode(values).encode())
    assert shape(back) == shape([{"a": 2, "b": 1}, {"a": 1}, 3, "wrong"])
    assert isinstance(back, list)
    assert back[3] != "right"


def test_anything_else_is_its_repr_with_a_mark() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert decode(encode(range(3)).encode()) == Opaque("range", "range(0, 3)")
    broken = decode(encode([Broken()]).encode())
    assert isinstance(broken, list)
    assert broken[0].text == "<repr raised ValueError>"


def test_nesting_without_end_is_cut() -> None:
    endless: list[object] = []
    endless.append(endless)
    inner = decode(encode(endless).encode())
    for _ in range(MAX_DEPTH):
        assert isinstance(inner, list)
        [inner] = inner
    assert inner == Opaque("list", "nested too deeply")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"1.5",
        b"NaN",
        b"[]",
        b'["x"]',
        b'["i"]',
        b'["i", 5]',
        b'["i", "zz"]',
        b'["f", "one"]',
        b'["d", 1]',
        b'["s", ["l"]]',
        b'["r", "a"]',
        b'["b", "f"]',
        b"[" * 100_000,
        b'["l",' * 300 + b"1" + b"]" * 300,
        b"\xff",
        b"1 2",
        b"9" * 5000,
        b"\x80\x04.",
    ],
)
def test_what_a_child_may_not_write_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableValueError):
        decode(data)
