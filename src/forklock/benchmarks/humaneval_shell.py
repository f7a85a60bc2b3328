"""HumanEval in Shell, in MultiPL-E's schema: bash functions, each test a call and the text that it has to print."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forklock.benchmarks.problem import Benchmark, BenchmarkError, Problem, id_of, text_of, texts_of
from forklock.benchmarks.score import Difference, Score, score_tests
from forklock.code_blocks import Style, last_code_block
from forklock.config import ColumnsConfig
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import Source
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import RunResult

LIMITS = Limits(cpu_s=15.0)
"""Of one call; MultiPL-E gives all tests of a program 15 s."""

_EXPECTED = r'(?P<expected>"(?:[^"\\]|\\.)*"|[\w.-]+)'
_TEST = re.compile(rf"^\s*\[\[ \$\(candidate(?P<call>(?: .*)?)\) = {_EXPECTED} \]\]\s*$", re.DOTALL)
_FUNCTION = re.compile(r"^candidate\(\) \{\n\s*(?P<name>\w+) \"\$@\"\n\}", re.MULTILINE)
_ESCAPED = re.compile(r'\\([$`"\\]|\n)')


@dataclass(frozen=True)
class ShellProblem(Problem):
    name: str
    stop_words: tuple[str, ...]
    calls: tuple[str, ...]
    """Arguments as bash spells them."""
    outputs: tuple[str, ...]

    def answer_in(self, text: str, style: Style) -> str | None:
        if style != "base":
            return last_code_block(text, style)
        end = min((at for word in self.stop_words if (at := text.find(word)) >= 0), default=len(text))
        return self.answer_of_completion(text[:end])

    def answer_of_completion(self, completion: str) -> str:
        closing = "" if completion.rstrip().endswith("\n}") else "\n}\n"
        return f"{self.prompt.statement}{completion}{closing}"

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        def judge(number: int, result: RunResult) -> Difference | None:
            got = result.stdout.decode(errors="surrogateescape")
            return None if got == self.outputs[number] else Difference(self.outputs[number], got)

        scripts = (self._script(answer, call) for call in self.calls)
        results = (result for script in scripts for result in sandbox.run_script(["bash"], script, [""], LIMITS))
        return score_tests(results, judge, runs_all=self.runs_all_tests)

    def _script(self, answer: str, call: str) -> str:
        """What the program prints by itself is no answer, and the status that its function ends with is none either:
        both as under MultiPL-E, whose tests look at what `$(candidate ...)` becomes."""
        return (
            f'exec 9>&1 1>/dev/null\n{answer}\n\ncandidate() {{\n    {self.name} "$@"\n}}\n'
            f"__forklock_output=$(candidate{call})\nprintf '%s' \"$__forklock_output\" >&9\nexit 0\n"
        )


def read_tests(row: Row, tests: str) -> tuple[str, list[tuple[str, str]]]:
    """The function's name, and of each test the arguments and the text expected."""
    function = _FUNCTION.search(tests)
    body = tests.partition("run_test() {\n")[2].rpartition("\n}")[0]
    if function is None or not body.strip():
        raise BenchmarkError(f"{row.place}: `tests` does not define `candidate` and `run_test` as MultiPL-E does")
    found = []
    for test in re.split(r"\n(?=\s*\[\[ \$\(candidate)", body):
        parsed = _TEST.match(test)
        if parsed is None:
            raise BenchmarkError(f"{row.place}: `tests`: not a call and an expected text: {test.strip()[:80]!r}")
        found.append((parsed["call"], _unquoted(parsed["expected"])))
    return function["name"], found


def _unquoted(word: str) -> str:
    if not word.startswith('"'):
        return word
    return _ESCAPED.sub(lambda match: "" if match[1] == "\n" else match[1], word[1:-1])


def _make(row: Row) -> Problem:
    name, tests = read_tests(row, text_of(row, "tests"))
    calls, outputs = zip(*tests, strict=True)
    prompt = Prompt(id_of(row, "name"), text_of(row, "prompt"), form="shell")
    return ShellProblem(prompt, row.place, None, name, tuple(texts_of(row, "stop_tokens")), calls, outputs)


HUMANEVAL_SHELL = Benchmark(
    source=Source("nuprl/MultiPL-E", ColumnsConfig(statement="prompt", id="name"), subset="humaneval-sh", split="test"),
    columns=("name", "prompt", "tests", "stop_tokens"),
    make=_make,
    num_expected=158,
    can_run_all_tests=True,
)
