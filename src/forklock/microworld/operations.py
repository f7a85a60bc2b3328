"""The operations that problems are composed of.

A style is Python with holes: `{i}` the value before, `{o}` the value after, `{v}` an item, `{j}` an index, `{k}` the
number that the problem gives. One that begins with `= ` is an expression; the others are statements, which either
define `{o}` or change `{i}` in place. The world's operations are in `list_operations` and `other_operations`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["list", "string", "number"]
"""A list of integers, a string, an integer."""


@dataclass(frozen=True)
class Operation:
    """One step of a problem."""

    name: str
    takes: Kind
    gives: Kind
    meaning: Callable[[Any, int], Any]
    """The reference: value and `k` to value. It changes nothing in place."""
    phrases: tuple[str, ...]
    """English, as an order; `{k}` is the number."""
    right: tuple[str, ...]
    """Styles that do what the operation means."""
    wrong: str | None = None
    """A popular idiom that does not; fails on some input for every `k`."""

    @property
    def has_number(self) -> bool:
        return "{k}" in self.phrases[0]


def in_one_loop(condition: str) -> str:
    """Keep items by a loop."""
    return f"{{o}} = []\nfor {{v}} in {{i}}:\n    if {condition}:\n        {{o}}.append({{v}})"


def by_removal(condition: str) -> str:
    """The classic: removing from what is being iterated skips the next item."""
    return f"for {{v}} in {{i}}:\n    if {condition}:\n        {{i}}.remove({{v}})"


def kept(condition: str) -> tuple[str, ...]:
    """Right styles of keeping items."""
    return (
        f"= [{{v}} for {{v}} in {{i}} if {condition}]",
        f"= list(filter(lambda {{v}}: {condition}, {{i}}))",
        in_one_loop(condition),
    )


def mapped(expression: str) -> tuple[str, ...]:
    """Right styles of changing each item."""
    return (
        f"= [{expression} for {{v}} in {{i}}]",
        f"= list(map(lambda {{v}}: {expression}, {{i}}))",
        f"{{o}} = []\nfor {{v}} in {{i}}:\n    {{o}}.append({expression})",
    )
