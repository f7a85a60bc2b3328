"""Tests that are assertions about a function, kept apart from the function.

The calls that the assertions make go into a child with the program, all in one process as the assertions would make
them, and their values come back. Whether these values satisfy the assertions is then found out without the program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from forklock.benchmarks.score import Difference, Score, VerdictName, cut
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import CallResult, Outcome
from forklock.sandbox.values import Opaque

CALLS = "__forklock_calls__"
"""The function that makes all calls of a program, and returns their values and the error that ended them."""
_CALLS = """

def __forklock_calls__(calls):
    from copy import deepcopy
    values = []
    try:
        for call in calls:
            value = {value}
            try:
                value = deepcopy(value)
            except Exception:
                pass
            values.append(value)
    except Exception as error:
        return [values, f"{{type(error).__name__}}: {{error}}"]
    return [values, ""]
"""


class Values(NamedTuple):
    """What the calls gave: fewer than were asked for where one raised, and then its error."""

    values: list[Any]
    error: str


def calls_by(value: str) -> str:
    """The text of `CALLS`, to stand after a program. `value`: an expression of `call`, one of the list that it gets."""
    return _CALLS.format(value=value)


def run_once(
    sandbox: Sandbox, source: str, entry_point: str, arguments: list[Any], limits: Limits
) -> tuple[CallResult, Values | None]:
    """One call in one child. The values are None where it did not finish; that is judged by its outcome alone."""
    [result] = sandbox.call_function(source, entry_point, [arguments], limits)
    match result.value:
        case [list() as values, str() as error] if result.outcome is Outcome.FINISHED:
            return result, Values([_plain(value) for value in values], error)
    return result, None


def score_of(result: CallResult, values: Values | None, failing: int | None, difference: Difference | None) -> Score:
    """`failing`: the first call whose value the assertions did not accept, None where they accepted all that came."""
    verdict, cause, number = VerdictName.PASSED, "", failing
    if values is None:
        verdict, cause = VerdictName(result.outcome.value), result.cause
        if result.outcome is Outcome.FINISHED:
            verdict, cause = VerdictName.RUNTIME_ERROR, "the program's own value stands where those of all calls belong"
    elif failing is not None:
        verdict = VerdictName.WRONG_ANSWER
    elif values.error:
        is_memory = values.error.startswith("MemoryError")
        verdict = VerdictName.MEMORY if is_memory else VerdictName.RUNTIME_ERROR
        cause, number = values.error, len(values.values)
    expected, got = difference or Difference("", "")
    return Score(
        verdict=verdict,
        failing_test=number,
        expected=cut(expected),
        got=cut(got),
        cause=cut(cause),
        num_tests_run=0 if values is None else len(values.values) + bool(values.error),
        cpu_s=result.cpu_s,
        peak_memory_bytes=result.peak_memory_bytes,
        is_isolated=result.is_isolated,
    )


def _plain(value: Any) -> Any:
    """Values of types of the program's own become a text that no assertion names: they equal nothing."""
    if isinstance(value, Opaque):
        return f"<{value.type_name} object: {value.text}>"
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
