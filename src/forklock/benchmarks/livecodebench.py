"""LiveCodeBench's code generation: contest problems by date, as whole programs or as a method of `Solution`.

Results are compared as its official grader compares them; `docs/sandbox.md` lists where verdicts differ, and why.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickletools
import re
import tokenize
import zlib
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any, cast

from forklock.benchmarks.compare import lines_differ, same_value, show_value
from forklock.benchmarks.prelude import MAX_LINE, with_prelude
from forklock.benchmarks.problem import DIFFICULTIES, Benchmark, BenchmarkError, Problem, id_of, text_of
from forklock.benchmarks.score import Calls, Difference, Score, score_calls, score_tests
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import KNOWN_SOURCES
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.results import CallResult, RunResult

LIMITS = Limits(cpu_s=6.0)
"""Of one test: the official 6 s, of CPU time."""
MAX_TESTS_BYTES = 1 << 30
"""Of one problem's private tests, unpacked."""

FUNCTION_PRELUDE = """\
import bisect, collections, copy, datetime, functools, heapq, itertools, json, math, operator, random, re, string, sys
import typing
from string import *; from re import *; from datetime import *; from collections import *; from heapq import *
from bisect import *; from copy import *; from math import *; from random import *; from itertools import *
from functools import *; from operator import *; from typing import *; from builtins import *
"""
"""Names that a method of `Solution` may use without importing them, as where these problems come from; programs that
read stdin get none."""

_ONE_STRING = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"}
_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_SOURCE = KNOWN_SOURCES["livecodebench"]
_CLASS = "Solution"


@dataclass(frozen=True)
class ProgramProblem(Problem):
    """A program that reads stdin and prints."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        def judge(number: int, result: RunResult) -> Difference | None:
            return lines_differ(result.text, self.outputs[number])

        return score_tests(sandbox.run_program(answer, self.inputs, LIMITS), judge, runs_all=self.runs_all_tests)


@dataclass(frozen=True)
class FunctionProblem(Problem):
    """A method of `Solution`, or a plain function where a program defines no such class."""

    name: str
    arguments: tuple[list[Any], ...]
    values: tuple[Any, ...]

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        def judge(number: int, result: RunResult) -> Difference | None:
            assert isinstance(result, CallResult)
            got = list(result.value) if isinstance(result.value, tuple) else result.value
            if same_value(got, self.values[number]):
                return None
            return Difference(show_value(self.values[number]), show_value(result.value))

        entry_point = f"{_CLASS}.{self.name}" if defines_class(answer, _CLASS) else self.name
        program = with_prelude(FUNCTION_PRELUDE, answer)
        calls = Calls(sandbox, program, entry_point, self.arguments, LIMITS)
        return score_calls(calls, judge, runs_all=self.runs_all_tests)


def defines_class(source: str, name: str) -> bool:
    """Whether the program has a class of this name; comments and strings that mention one don't count."""
    if len(source) > LIMITS.source_bytes or not re.search(rf"\bclass[ \t]+{name}\b", source):
        return False
    if max(map(len, source.splitlines())) > MAX_LINE:  # tokenizing one can take its length squared
        return re.search(rf"^class[ \t]+{name}\b", source, re.MULTILINE) is not None
    before = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME:
                if before == "class" and token.string == name:
                    return True
                before = token.string
    except (tokenize.TokenError, SyntaxError):
        return True  # it won't compile, whatever is called
    return False


def _make(first: date, last: date, row: Row) -> Problem | None:
    if not first <= _contest_date(row) <= last:
        return None
    columns = _SOURCE.columns
    assert columns.id
    assert columns.starter_code
    starter_code = text_of(row, columns.starter_code)
    prompt = Prompt(
        id_of(row, columns.id),
        text_of(row, columns.statement),
        starter_code if starter_code.strip() else "",
        "function" if starter_code.strip() else "program",
    )
    difficulty = text_of(row, "difficulty")
    if difficulty not in DIFFICULTIES:
        raise BenchmarkError(f"{row.place}: `difficulty` is {difficulty!r}; known are {', '.join(DIFFICULTIES)}")
    tests = _tests(row)
    name = _json(row, "metadata", text_of(row, "metadata")).get("func_name")
    if name is None:
        inputs, outputs = zip(*tests, strict=True)
        return ProgramProblem(prompt, row.place, cast("Any", difficulty), inputs, outputs)
    arguments = tuple([_json(row, "input", line) for line in given.split("\n")] for given, _ in tests)
    values = tuple(_json(row, "output", expected) for _, expected in tests)
    return FunctionProblem(prompt, row.place, cast("Any", difficulty), str(name), arguments, values)


def _contest_date(row: Row) -> date:
    value = text_of(row, "contest_date")
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        raise BenchmarkError(f"{row.place}: `contest_date` is {value!r}, not a date such as 2025-02-01") from None


def _tests(row: Row) -> list[tuple[str, str]]:
    """Input and expected output of every test, the public ones first."""
    tests = []
    for column in ("public_test_cases", "private_test_cases"):
        value = text_of(row, column)
        found = _json(row, column, value) if value.lstrip()[:1] == "[" else _json(row, column, unpack(row, value))
        for number, test in enumerate(found if isinstance(found, list) else [None], start=1):
            given, expected = (test.get("input"), test.get("output")) if isinstance(test, dict) else (None, None)
            if not isinstance(given, str) or not isinstance(expected, str):
                missing = "output" if isinstance(given, str) else "input"
                raise BenchmarkError(f"{row.place}: `{column}`: test {number} has no expected `{missing}`")
            tests.append((given, expected))
    if not tests:
        raise BenchmarkError(f"{row.place}: has no tests, so that any program would pass")
    return tests


def unpack(row: Row, packed: str) -> str:
    """Text that was pickled, compressed by zlib and written in base64. Reads one string, runs nothing."""
    try:
        unzip = zlib.decompressobj()
        pickled = unzip.decompress(base64.b64decode(packed, validate=True), MAX_TESTS_BYTES)
        if not unzip.eof:
            raise ValueError("cut short, or above 1 GiB")
        operations = [(operation.name, value) for operation, value, _ in pickletools.genops(pickled)]
    except (binascii.Error, zlib.error, ValueError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{row.place}: `private_test_cases` cannot be unpacked: {error}") from error
    texts = [value for name, value in operations if name in _STRINGS]
    others = {name for name, _ in operations} - _ONE_STRING - _STRINGS
    if others or len(texts) != 1:
        raise BenchmarkError(
            f"{row.place}: `private_test_cases` holds a pickle of more than one string ({', '.join(sorted(others))}), "
            "which is not opened: whoever made this file could run code here"
        )
    return str(texts[0])


def _json(row: Row, column: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{row.place}: `{column}` is not JSON ({error}): {text[:60]!r}") from None


def _benchmark(first: date, last: date, files: str, num_expected: int) -> Benchmark:
    return Benchmark(
        source=replace(_SOURCE, subset=files),
        columns=(),
        make=partial(_make, first, last),
        num_expected=num_expected,
        can_run_all_tests=True,
        is_livecodebench=True,
    )


# The windows of C.1, months inclusive. The problems of each stand in these of the data set's files.
V5 = _benchmark(date(2024, 8, 1), date(2025, 2, 28), "v4_v6", 374)
V6 = _benchmark(date(2025, 2, 1), date(2025, 5, 31), "v6", 131)
