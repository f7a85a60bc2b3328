"""The differences to LiveCodeBench's own grader that docs/sandbox.md lists: its programs get the verdicts it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from benchmark_cases import score_livecodebench
from sandbox_cases import open_sandbox

from forklock.benchmarks.livecodebench import LIMITS
from forklock.benchmarks.score import VerdictName
from forklock.sandbox.pool import Sandbox

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sandbox.md"
TITLE = "## Where LiveCodeBench's grader and ours differ"
STDIN_TESTS = [("1 2\n", "3\n"), ("3 4\n", "7\n")]
FUNCTION_TESTS = [("0", "1"), ("1", "2")]
SLOW = ("time:", "how time ends:", "a table that grows")
"""Rows whose programs take seconds by their nature."""


class Row(NamedTuple):
    what: str
    official: str
    ours: str
    program: str

    @property
    def is_function(self) -> bool:
        return "def f(" in self.program

    @property
    def tests(self) -> list[tuple[str, str]]:
        tests = FUNCTION_TESTS if self.is_function else STDIN_TESTS
        return tests[:1] if self.what.startswith(SLOW[:2]) else tests


def rows() -> list[Row]:
    section = PAGE.read_text(encoding="utf-8").partition(TITLE)[2].partition("\n## ")[0]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if "`" in line]
    cells = [line for line in found if len(line) == 4]
    return [
        Row(what, official, ours.strip("`"), code[1:-1].replace("\\n", "\n")) for what, official, ours, code in cells
    ]


LONG = Row("source", "passes", "compile_error", f"print(sum(map(int, input().split())))\n#{'x' * (5 << 20)}")
"""What the page says beneath the table."""
ROWS = [*rows(), LONG]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox(LIMITS) as opened:
        yield opened


def test_the_table_is_read_whole() -> None:
    section = PAGE.read_text(encoding="utf-8").partition(TITLE)[2].partition("\n## ")[0]
    assert len(ROWS[:-1]) == sum(line.startswith("| ") for line in section.splitlines()) - 1
    assert len({row.program for row in ROWS}) == len(ROWS) > 20
    assert {row.official for row in ROWS} == {"passes", "fails"}
    assert {row.ours for row in ROWS} <= set(VerdictName)


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=pytest.mark.slow if row.what.startswith(SLOW) else (), id=row.what) for row in ROWS]
)
def test_ours_is_as_the_table_has_it(row: Row, sandbox: Sandbox, tmp_path: Path) -> None:
    changes = {"func_name": "f"} if row.is_function else {}
    assert score_livecodebench(sandbox, tmp_path, row.program, row.tests, **changes).verdict == row.ours


OFFICIAL = """
import json, sys
sys.path.insert(0, sys.argv[1])
from lcb_runner.evaluation.compute_code_generation_metrics import check_correctness
for program, tests, name in json.load(sys.stdin):
    sample = {"inputs": [given for given, _ in tests], "outputs": [wanted for _, wanted in tests], "fn_name": name}
    found, _ = check_correctness({"input_output": json.dumps(sample)}, program, timeout=6, debug=False)
    print("VERDICT", "passes" if all(result is True or result == 1 for result in found) else "fails")
"""


@pytest.mark.slow
def test_the_official_is_as_the_table_has_it() -> None:
    checkout = os.environ.get("FORKLOCK_LIVECODEBENCH")
    if checkout is None:
        pytest.skip("FORKLOCK_LIVECODEBENCH names no checkout of LiveCodeBench")
    asked = json.dumps([[row.program, row.tests, "f" if row.is_function else None] for row in ROWS])
    done = subprocess.run([sys.executable, "-c", OFFICIAL, checkout], input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("VERDICT ")]
    assert dict(zip([row.what for row in ROWS], found, strict=True)) == {row.what: row.official for row in ROWS}
