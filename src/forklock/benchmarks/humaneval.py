"""HumanEval: functions to complete, checked by the data set's own `check`, which never meets the program.

Once a problem, `check` runs on the canonical solution in a child of its own, and the calls that it makes are kept. A
program answers these calls in another child. Its values pass where they are the canonical ones; if they differ,
`check` runs again, with the program's values played back to it: so tolerances and properties count as they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from forklock.benchmarks.compare import identical, show_value
from forklock.benchmarks.one_process import CALLS, calls_by, run_once, score_of
from forklock.benchmarks.prelude import with_prelude
from forklock.benchmarks.problem import Benchmark, BenchmarkError, Problem, id_of, text_of
from forklock.benchmarks.score import Difference, Score, VerdictName
from forklock.code_blocks import Style, last_code_block
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import KNOWN_SOURCES
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import CallResult, Outcome

LIMITS = Limits(cpu_s=3.0)
"""Of all calls of one program together: the official 3 s, of CPU time."""
STOP_WORDS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n@", "\nassert", "\n```")
"""A base model's completion ends at the first of them: what follows is no part of the function."""

_SOURCE = KNOWN_SOURCES["humaneval"]

_RECORD = """

def __forklock_record__():
    import copy, random
    calls, values = [], []
    def record(*arguments):
        calls.append(copy.deepcopy(list(arguments)))
        values.append(copy.deepcopy({name}(*arguments)))
        return copy.deepcopy(values[-1])
    random.seed(0)
    check(record)
    return [calls, values]
"""

_REPLAY = """

def __forklock_replay__(values):
    import random
    num_asked = 0
    class End(BaseException):
        pass
    def play(*arguments):
        nonlocal num_asked
        if num_asked == len(values):
            raise End
        num_asked += 1
        return values[num_asked - 1]
    random.seed(0)
    try:
        check(play)
    except End:
        return None
    except Exception:
        return num_asked - 1
    return None
"""


class _Recorded(NamedTuple):
    calls: list[list[Any]]
    values: list[Any]


@dataclass(frozen=True)
class HumanEvalProblem(Problem):
    name: str
    solution: str
    """The canonical one."""
    check: str
    _memo: list[_Recorded] = field(default_factory=list, compare=False, repr=False)

    def answer_in(self, text: str, style: Style) -> str | None:
        if style != "base":
            return last_code_block(text, style)
        end = min((at for word in STOP_WORDS if (at := text.find(word)) >= 0), default=len(text))
        return self.answer_of_completion(text[:end])

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        recorded = self._recorded(sandbox)
        if isinstance(recorded, Score):
            return recorded
        program = with_prelude(self._given(), answer) + calls_by(f"{self.name}(*call)")
        result, values = run_once(sandbox, program, CALLS, [recorded.calls], LIMITS)
        if values is None or (not values.error and identical(values.values, recorded.values)):
            return score_of(result, values, None, None)
        [played] = sandbox.call_function(self._trusted() + _REPLAY, "__forklock_replay__", [[values.values]], LIMITS)
        if played.outcome is Outcome.HARNESS_ERROR:
            return self._harness_error(played)
        # Values can be so large that `check` does not come to an end with them: then they are wrong.
        failing = played.value if played.outcome is Outcome.FINISHED else 0
        if failing is None:
            return score_of(result, values, None, None)
        assert isinstance(failing, int)
        difference = Difference(show_value(recorded.values[failing]), show_value(values.values[failing]))
        return score_of(result, values, failing, difference)

    def _given(self) -> str:
        """The statement's imports and helper functions: what stands before the function that is asked for."""
        return self.prompt.statement.partition(f"def {self.name}(")[0]

    def _trusted(self) -> str:
        return f"{self.prompt.statement}{self.solution}\n{self.check}\n"

    def _recorded(self, sandbox: Sandbox) -> _Recorded | Score:
        if not self._memo:
            source = self._trusted() + _RECORD.format(name=self.name)
            [result] = sandbox.call_function(source, "__forklock_record__", [[]], LIMITS)
            if result.outcome is Outcome.HARNESS_ERROR:
                return self._harness_error(result)
            match result.value:
                case [list() as calls, list() as values] if calls:
                    self._memo.append(_Recorded(calls, values))
                case _:
                    raise BenchmarkError(
                        f"{self.place}: problem {self.problem_id}: its canonical solution does not pass its own test "
                        f"({result.outcome}: {result.cause or 'no calls were made'}); make or download the file again"
                    )
        return self._memo[0]

    def _harness_error(self, result: CallResult) -> Score:
        return Score(VerdictName.HARNESS_ERROR, cause=f"the check of {self.problem_id}: {result.cause}")


def _make(row: Row) -> Problem:
    assert _SOURCE.columns.id
    prompt = Prompt(id_of(row, _SOURCE.columns.id), text_of(row, _SOURCE.columns.statement), form="completion")
    name, check = text_of(row, "entry_point"), text_of(row, "test")
    if f"def {name}(" not in prompt.statement or "def check(" not in check:
        raise BenchmarkError(f"{row.place}: `prompt` does not define {name!r}, or `test` defines no `check`")
    return HumanEvalProblem(prompt, row.place, None, name, text_of(row, "canonical_solution"), check)


HUMANEVAL = Benchmark(
    source=_SOURCE,
    columns=("task_id", "prompt", "entry_point", "canonical_solution", "test"),
    make=_make,
    num_expected=164,
)
