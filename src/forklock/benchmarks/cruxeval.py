"""CRUXEval: what a short function gives (output), or what it has to be given (input).

An answer is an expression. It is evaluated in the sandbox; for `input`, the function is then called with it there.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from forklock.benchmarks.compare import same_value, show_value
from forklock.benchmarks.problem import Benchmark, BenchmarkError, Problem, id_of, text_of
from forklock.benchmarks.score import Calls, Difference, Score, score_calls
from forklock.code_blocks import Style, answer_of, last_code_block
from forklock.config import ColumnsConfig
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import Source
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import CallResult, RunResult

Side = Literal["input", "output"]
LIMITS = Limits(cpu_s=3.0)

_EVALUATE = """
def __forklock_answer__(text):
    import ast, warnings
    warnings.simplefilter("ignore")
    node = ast.parse(text.strip()).body[-1]
    if isinstance(node, ast.Assert):
        node = node.test
    elif isinstance(node, ast.Expr):
        node = node.value
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq):
        node = {side_of_comparison}
    names = {names}
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "f"
    assert is_call or not names, "not a call of f"
    return eval(compile(ast.Expression(node), "answer", "eval"), names)
"""


@dataclass(frozen=True)
class CruxProblem(Problem):
    side: Side
    code: str
    expected: Any

    def answer_in(self, text: str, style: Style) -> str | None:
        """The last code block; without one, the last line that is an assertion."""
        block = last_code_block(text, style)
        if block is None and style == "thinking" and "</think>" not in text:
            return None
        if block is not None:
            return block
        asserts = [line.strip() for line in answer_of(text).splitlines() if line.strip().startswith("assert ")]
        return asserts[-1] if asserts else None

    def answer_of_completion(self, completion: str) -> str:
        return completion

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        def judge(_: int, result: RunResult) -> Difference | None:
            assert isinstance(result, CallResult)
            if same_value(result.value, self.expected):
                return None
            return Difference(show_value(self.expected), show_value(result.value))

        if self.side == "input":  # the function is there, and the comparison's left side calls it
            program = self.code + _EVALUATE.format(side_of_comparison="node.left", names="globals()")
        else:
            program = _EVALUATE.format(side_of_comparison="node.comparators[0]", names="{}")
        return score_calls(Calls(sandbox, program, "__forklock_answer__", [[answer]], LIMITS), judge)


def _make(side: Side, row: Row) -> Problem:
    code, given, output = (text_of(row, column) for column in ("code", "input", "output"))
    try:
        expected = ast.literal_eval(output)
    except (ValueError, SyntaxError) as error:
        raise BenchmarkError(f"{row.place}: `output` is not a Python value ({error}): {output[:60]!r}") from None
    wanted = "f(??) == " + output if side == "input" else f"f({given}) == ??"
    what = "an input for which the assertion holds" if side == "input" else "the value that makes the assertion hold"
    statement = (
        f"Here are a Python function and an assertion:\n\n```python\n{code}\n\nassert {wanted}\n```\n\n"
        f"Put {what} in the place of ??. Reason as much as you need, then give the whole assertion, without any call "
        "but that of f, as the last code block of your answer."
    )
    return CruxProblem(Prompt(id_of(row, "id"), statement, form="question"), row.place, None, side, code, expected)


def _benchmark(side: Side) -> Benchmark:
    return Benchmark(
        source=Source("cruxeval-org/cruxeval", ColumnsConfig(statement="code", id="id"), split="test"),
        columns=("id", "code", "input", "output"),
        make=partial(_make, side),
        num_expected=800,
    )


INPUT, OUTPUT = _benchmark("input"), _benchmark("output")
