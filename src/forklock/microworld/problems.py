"""Problems: sequences of one to four operations, put into English, with hidden tests from the reference.

Which sequences of operations pre-training, the prompts of self-distillation and evaluation may use is fixed by a hash
of the sequence, so that no two of them ever share one, whatever their seeds. Their numbers (`add 3`, `add 7`) and
wordings do not make sequences different.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from forklock.microworld.operations import Kind
from forklock.microworld.other_operations import OPERATIONS
from forklock.seeds import derive_seed

Split = Literal["pretrain", "ssd", "eval"]
SPLITS: tuple[Split, ...] = ("pretrain", "ssd", "eval")
Difficulty = Literal["easy", "medium", "hard"]

LENGTH_SHARES = (0.2, 0.35, 0.25, 0.2)
"""How many problems have one, two, three and four operations, before repetitions are taken out."""

_SHARES: dict[Split, int] = {"pretrain": 6, "ssd": 2, "eval": 2}
_KINDS: tuple[tuple[Kind, float], ...] = (("list", 0.6), ("string", 0.2), ("number", 0.2))
_NUM_TESTS = 10
_MIN_DISTINCT_OUTPUTS = 3
_LONGEST_LIST = 64
_FIXED_INPUTS: dict[Kind, tuple[Any, ...]] = {
    "list": ([], [4], [3, 3, -1, 3, 0, -1], [0, 8, 2, 6, 4, 4, 1]),
    "string": ("", "a", "Anna  eats a banana", " Over the Hill "),
    "number": (0, 7, -28, 35),
}
_NOUNS: dict[Kind, str] = {"list": "a list of integers", "string": "a string", "number": "an integer"}
_FRAMES = (
    "Write solve(x), where x is {noun}: {steps}. Return the result.",
    "The function solve gets {noun}: {steps}, and return that.",
    "Given {noun}, {steps}. Call the function solve.",
)
_LINKS = (", then ", " and then ", "; after that, ")


@dataclass(frozen=True)
class Problem:
    """What is asked, and what only a grader may see."""

    problem_id: str
    operations: tuple[str, ...]
    numbers: tuple[int, ...]
    """The `k` of each operation; 0 where it has none."""
    statement: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    @property
    def difficulty(self) -> Difficulty:
        return "easy" if len(self.operations) == 1 else "medium" if len(self.operations) == 2 else "hard"


def split_of(operations: tuple[str, ...]) -> Split:
    """The one split that may use this sequence of operations."""
    place = derive_seed("microworld split", *operations) % sum(_SHARES.values())
    for split, share in _SHARES.items():
        if place < share:
            return split
        place -= share
    raise AssertionError(operations)


def draw_problems(
    split: Split, seed: int, num: int, length_shares: tuple[float, ...] = LENGTH_SHARES
) -> Iterator[Problem]:
    """The first `num` problems of a seed: none is asked twice in the same words, and more of them begin as fewer do."""
    seen: set[str] = set()
    drawn = endless_problems(split, seed, length_shares)
    while len(seen) < num:
        problem = next(drawn)
        if problem.statement not in seen:
            seen.add(problem.statement)
            yield problem


def endless_problems(split: Split, seed: int, length_shares: tuple[float, ...] = LENGTH_SHARES) -> Iterator[Problem]:
    """Problems at exactly these shares; of short ones there are few, and they come again and again."""
    chance = Random(derive_seed("microworld problems", split, seed))
    for number in itertools.count():
        (length,) = chance.choices(range(1, len(length_shares) + 1), length_shares)
        problem = None
        while problem is None:
            problem = _draw(split, chance, f"{split}-{seed}-{number:05d}", length)
        yield problem


def make_problem(
    problem_id: str, operations: tuple[str, ...], numbers: tuple[int, ...], chance: Random
) -> Problem | None:
    """Words and tests for these operations; None where they ask for nearly the same whatever the input."""
    kind = OPERATIONS[operations[0]].takes
    fixed = _FIXED_INPUTS[kind]
    inputs = (*fixed, *(_input(kind, chance) for _ in range(_NUM_TESTS - len(fixed))))
    outputs = []
    for value in inputs:
        for name, number in zip(operations, numbers, strict=True):
            value = OPERATIONS[name].meaning(value, number)
            if isinstance(value, list) and len(value) > _LONGEST_LIST:
                return None
        outputs.append(value)
    if len(set(map(repr, outputs))) < _MIN_DISTINCT_OUTPUTS:
        return None
    return Problem(problem_id, operations, numbers, _statement(operations, numbers, chance), inputs, tuple(outputs))


def numbers_for(name: str) -> range:
    """What the `k` of an operation may be."""
    if not OPERATIONS[name].has_number:
        return range(1)
    if name in ("first", "last", "drop_first"):
        return range(2, 5)
    return range(3 if name == "n_remainder" else 2, 10)


def _draw(split: Split, chance: Random, problem_id: str, length: int) -> Problem | None:
    """None where what was drawn is no problem, or another split's."""
    operations = _sequence(length, chance)
    if split_of(operations) != split:
        return None
    numbers = tuple(chance.choice(numbers_for(name)) for name in operations)
    return make_problem(problem_id, operations, numbers, chance)


def _sequence(length: int, chance: Random) -> tuple[str, ...]:
    kinds, weights = zip(*_KINDS, strict=True)
    (kind,) = chance.choices(kinds, weights)
    names: list[str] = []
    while len(names) < length:
        fitting = [one for one in OPERATIONS.values() if one.takes == kind and one.name not in names]
        operation = chance.choice(fitting)
        names.append(operation.name)
        kind = operation.gives
    return tuple(names)


def _input(kind: Kind, chance: Random) -> Any:
    if kind == "list":
        return [chance.randint(-9, 15) for _ in range(chance.randint(5, 9))]
    if kind == "number":
        return chance.randint(-50, 60)
    lengths = [chance.randint(2, 6) for _ in range(chance.randint(2, 4))]
    return " ".join("".join(chance.choices("aeioubcdlmnrstABEOT", k=length)) for length in lengths)


def _statement(operations: tuple[str, ...], numbers: tuple[int, ...], chance: Random) -> str:
    frame = chance.choice(_FRAMES)
    phrases = [
        chance.choice(OPERATIONS[name].phrases).format(k=number)
        for name, number in zip(operations, numbers, strict=True)
    ]
    steps = phrases[0]
    for phrase in phrases[1:]:
        steps += chance.choice(_LINKS) + phrase
    return frame.format(noun=_NOUNS[OPERATIONS[operations[0]].takes], steps=steps)
