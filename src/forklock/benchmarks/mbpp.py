"""MBPP: a function for a sentence, with the assertions that it has to satisfy, as is the custom of this benchmark.

The calls in the assertions are evaluated in a child with the program; the assertions, with the values in the calls'
places, in another child that never sees the program.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import Any

from forklock.benchmarks.compare import identical, show_value
from forklock.benchmarks.one_process import CALLS, calls_by, run_once, score_of
from forklock.benchmarks.problem import Benchmark, BenchmarkError, Problem, id_of, text_of, texts_of
from forklock.benchmarks.score import Difference, Score, VerdictName
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import KNOWN_SOURCES
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import Outcome

LIMITS = Limits(cpu_s=3.0)
"""Of all calls of one program together."""

_SOURCE = KNOWN_SOURCES["mbpp"]
_VALUES = "__forklock_values__"

_CHECK = """

def __forklock_check__(tests, values):
    for number, test in enumerate(tests):
        try:
            if not eval(test, globals(), {"__forklock_values__": values}):
                return number
        except IndexError:
            return None if len(values) <= number else number
        except Exception:
            return number
    return None
"""


@dataclass(frozen=True)
class Assertion:
    """`assert TEST`, with calls to the program in it."""

    calls: str
    """A list of them, as an expression."""
    test: str
    """The rest, in which `__forklock_values__[number][index]` stands for each."""
    expected: tuple[Any] | None
    """What the one call has to equal, where the assertion is no more than that and the value is written out."""


@dataclass(frozen=True)
class MbppProblem(Problem):
    setup: str
    """Imports and objects that the calls and the assertions use."""
    reference: str
    assertions: tuple[Assertion, ...]

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        calls = [assertion.calls for assertion in self.assertions]
        program = f"{answer}\n{self.setup}\n{calls_by('eval(call, globals())')}"
        result, values = run_once(sandbox, program, CALLS, [calls], LIMITS)
        if values is None or (not values.error and all(map(self._is_expected, self.assertions, values.values))):
            return score_of(result, values, None, None)
        tests = [assertion.test for assertion in self.assertions[: len(values.values)]]
        source = f"{self.reference}\n{self.setup}\n{_CHECK}"
        [checked] = sandbox.call_function(source, "__forklock_check__", [[tests, values.values]], LIMITS)
        if checked.outcome is Outcome.HARNESS_ERROR:
            return Score(VerdictName.HARNESS_ERROR, cause=f"the test of {self.problem_id}: {checked.cause}")
        failing = checked.value if checked.outcome is Outcome.FINISHED else 0
        if failing is None:
            return score_of(result, values, None, None)
        assert isinstance(failing, int)
        shown = self.assertions[failing].test.replace(f"{_VALUES}[{failing}]", "got")
        difference = Difference(shown, show_value(values.values[failing]))
        return score_of(result, values, failing, difference)

    @staticmethod
    def _is_expected(assertion: Assertion, value: Any) -> bool:
        return assertion.expected is not None and identical(value, [assertion.expected[0]])


def read_assertion(text: str, names: set[str], number: int) -> Assertion | None:
    """The assertion, taken apart at its outermost calls to `names`; None where there is no such call."""
    try:
        [statement] = ast.parse(text.strip()).body
    except (SyntaxError, ValueError):
        return None
    if not isinstance(statement, ast.Assert):
        return None
    taken = _TakeCalls(names, number)
    test = taken.visit(statement.test)
    if not taken.calls:
        return None
    expected: tuple[Any] | None = None
    match test:
        case ast.Compare(left=ast.Subscript(), ops=[ast.Eq()], comparators=[right]) if len(taken.calls) == 1:
            try:
                expected = (ast.literal_eval(right),)
            except (ValueError, TypeError):
                expected = None
    return Assertion(f"[{', '.join(taken.calls)}]", ast.unparse(test), expected)


class _TakeCalls(ast.NodeTransformer):
    def __init__(self, names: set[str], number: int) -> None:
        self.names = names
        self.number = number
        self.calls: list[str] = []

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in self.names:
            self.calls.append(ast.unparse(node))
            return ast.parse(f"{_VALUES}[{self.number}][{len(self.calls) - 1}]", mode="eval").body
        return self.generic_visit(node)


def _defined(body: list[ast.stmt]) -> set[str]:
    """Functions of the reference, and names that it gives to some."""
    names = {statement.name for statement in body if isinstance(statement, ast.FunctionDef)}
    targets = [target for statement in body if isinstance(statement, ast.Assign) for target in statement.targets]
    return names | {target.id for target in targets if isinstance(target, ast.Name)}


def _make(row: Row) -> Problem:
    is_sanitized = "text" not in row.values
    words = text_of(row, "prompt" if is_sanitized else "text")
    reference, tests = text_of(row, "code"), texts_of(row, "test_list")
    if not tests:
        raise BenchmarkError(f"{row.place}: `test_list` is empty, so that any program would pass")
    try:
        body = ast.parse(reference).body
    except (SyntaxError, ValueError) as error:
        raise BenchmarkError(f"{row.place}: `code` is not Python: {error}") from None
    names, assertions = _defined(body), []
    for number, test in enumerate(tests):
        assertion = read_assertion(test, names, number)
        if assertion is None:
            raise BenchmarkError(
                f"{row.place}: `test_list`: {test[:80]!r} is not an assertion about a call of what `code` defines"
            )
        assertions.append(assertion)
    setup = "\n".join([*texts_of(row, "test_imports"), str(row.values.get("test_setup_code") or "")])
    shown = "\n".join(tests)
    statement = f"{words.strip()}\n\nYour code has to pass these tests:\n\n```python\n{shown}\n```"
    prompt = Prompt(id_of(row, "task_id"), statement, form="function")
    return MbppProblem(prompt, row.place, None, setup, reference, tuple(assertions))


MBPP = Benchmark(
    source=replace(_SOURCE, split="test"),
    columns=("task_id", "text", "code", "test_list", "test_setup_code"),
    make=_make,
    num_expected=500,
)
