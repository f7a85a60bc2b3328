"""Solutions as people write them: a style for each operation, names for values, and popular wrong idioms among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from forklock.microworld.operations import Kind
from forklock.microworld.other_operations import OPERATIONS
from forklock.microworld.problems import Problem

PARAMETERS: dict[Kind, tuple[str, ...]] = {
    "list": ("xs", "nums", "items"),
    "string": ("s", "text", "word"),
    "number": ("n", "num", "number"),
}
RESULTS: dict[Kind, tuple[str, ...]] = {
    "list": ("ys", "out", "result"),
    "string": ("t", "out", "result"),
    "number": ("m", "total", "result"),
}
ITEMS: dict[Kind, tuple[str, ...]] = {"list": ("x", "v"), "string": ("c", "w"), "number": ("d", "v")}
INDICES = ("i", "j")
NAMES = (
    tuple(dict.fromkeys([name for names in (PARAMETERS, RESULTS, ITEMS) for kind in names.values() for name in kind]))
    + INDICES
)

_KEEP_NAME = 0.4
_RETURN_AT_ONCE = 0.5
_INDENT = "    "


@dataclass
class _Writer:
    """A function under way: its lines, and the name that holds the value."""

    chance: Random
    current: str
    lines: list[str] = field(default_factory=list)

    def write(self, name: str, style: str, number: int, *, is_last: bool) -> None:
        operation = OPERATIONS[name]
        others = [one for one in RESULTS[operation.gives] if one != self.current]
        holes = {
            "i": self.current,
            "v": self.chance.choice(ITEMS[operation.takes]),
            "j": self.chance.choice(INDICES),
            "k": number,
        }
        if style.startswith("= "):
            if is_last and self.chance.random() < _RETURN_AT_ONCE:
                self._add("return " + style[2:].format(**holes))
                return
            keeps = operation.takes == operation.gives and self.chance.random() < _KEEP_NAME
            result = self.current if keeps else self.chance.choice(others)
            self._add(f"{result} {style.format(**holes)}")
        else:
            result = self.chance.choice(others) if "{o}" in style else self.current
            self._add(style.format(o=result, **holes))
        self.current = result
        if is_last:
            self._add(f"return {result}")

    def _add(self, code: str) -> None:
        self.lines += [_INDENT + line for line in code.split("\n")]


def write_program(problem: Problem, wrong_idiom_share: float, chance: Random) -> str:
    """A whole function. Where an operation has a wrong idiom, it is that with this probability; right styles share
    the rest equally."""
    styles = []
    for name in problem.operations:
        wrong, right = OPERATIONS[name].wrong, OPERATIONS[name].right
        is_wrong = wrong is not None and chance.random() < wrong_idiom_share
        styles.append(wrong if wrong is not None and is_wrong else chance.choice(right))
    return write_in_styles(problem, styles, chance)


def write_in_styles(problem: Problem, styles: list[str], chance: Random) -> str:
    """A function in the given style for each operation; only its names are left to chance."""
    parameter = chance.choice(PARAMETERS[OPERATIONS[problem.operations[0]].takes])
    writer = _Writer(chance, parameter)
    last = len(styles) - 1
    for place, (name, number, style) in enumerate(zip(problem.operations, problem.numbers, styles, strict=True)):
        writer.write(name, style, number, is_last=place == last)
    return "\n".join([f"def solve({parameter}):", *writer.lines])


def as_answer(program: str) -> str:
    """What a model is to say: one code block, nothing around it."""
    return f"```python\n{program}\n```"
