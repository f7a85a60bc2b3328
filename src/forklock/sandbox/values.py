"""Reads a value that a child wrote (`encoding.py`), as data: no code of the child's can run here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from operator import eq

from forklock.sandbox.encoding import MAX_DEPTH

MAX_ALIKE = 64
"""Members of a set, or keys of a dict, with the same hash. Each is compared with all before it when it goes in."""


class UnreadableValueError(ValueError):
    """Not something that the child's side writes: the program wrote it itself."""


@dataclass(frozen=True)
class Opaque:
    """A value of a type that isn't carried over. Equal to nothing that a benchmark expects."""

    type_name: str
    text: str
    """Its `repr`, cut, as the program gave it."""


def decode(data: bytes) -> object:
    """The value with its exact builtin types: 1 is not True, "2" is not 2, a tuple is not a list."""
    try:
        return _build(json.loads(data), 0)
    except (ValueError, TypeError, RecursionError, IndexError, OverflowError, MemoryError) as error:
        raise UnreadableValueError(f"{type(error).__name__}: {error}"[:200]) from None


def _build(node: object, depth: int) -> object:
    if depth > MAX_DEPTH + 1:
        raise ValueError("nested too deeply")
    if isinstance(node, float | dict):
        raise ValueError("a bare float or an object")
    if not isinstance(node, list):
        return node
    tag, *rest = node
    if tag in ("i", "f", "c", "b", "r"):
        return _scalar(tag, rest)
    parts = [_build(part, depth + 1) for part in rest]
    match tag:
        case "l":
            return parts
        case "t":
            return tuple(parts)
        case "s":
            return set(_with_hashes_that_differ(parts))
        case "z":
            return frozenset(_with_hashes_that_differ(parts))
        case "d" if len(parts) % 2 == 0:
            return dict(zip(_with_hashes_that_differ(parts[::2]), parts[1::2], strict=True))
    raise ValueError("an unknown tag")


def _with_hashes_that_differ(parts: Sequence[object]) -> Sequence[object]:
    """Sorted, not counted in a table: its keys would again be the child's choice."""
    hashes = sorted(map(hash, parts))
    if any(map(eq, hashes, hashes[MAX_ALIKE:])):
        raise ValueError(f"more than {MAX_ALIKE} hashes alike")
    return parts


def _scalar(tag: str, rest: list[object]) -> object:
    texts = [text for text in rest if isinstance(text, str)]
    if len(texts) != len(rest):
        raise ValueError("a scalar is written as text")
    match tag, texts:
        case "i", [digits]:
            return int(digits, 16)
        case "f", [digits]:
            return float(digits)
        case "c", [real, imaginary]:
            return complex(float(real), float(imaginary))
        case "b", [digits]:
            return bytes.fromhex(digits)
        case "r", [name, text]:
            return Opaque(name, text)
    raise ValueError("a scalar of the wrong length")
