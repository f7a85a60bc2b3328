"""Small benchmark files in the true schemas, and how an answer to them is scored."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from forklock.benchmarks import Problem, Score, load_benchmark
from forklock.config import BenchmarkName
from forklock.sandbox.pool import Sandbox

Tests = Sequence[tuple[str, str]]


def shared_data(name: str) -> Path:
    """A file that lies beside the repository; skips the test where it does not."""
    folder = Path(os.environ.get("FORKLOCK_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / name).is_file():
        pytest.skip(f"{folder / name} is not there")
    return folder / name


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def problems_in(name: BenchmarkName, path: Path) -> dict[str, Problem]:
    return {problem.problem_id: problem for problem in load_benchmark(name, str(path)).problems}


def packed(text: str) -> str:
    """As LiveCodeBench packs private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


def livecodebench_row(
    name: str = "abc300_a", tests: Tests = (("1 2\n", "3\n"),), *, private: Tests = (), **changes: Any
) -> dict[str, Any]:
    """A stdin problem; with `func_name=...` a functional one."""
    function = changes.pop("func_name", None)
    kind = "stdin" if function is None else "functional"

    def as_json(cases: Tests) -> str:
        return json.dumps([{"input": given, "output": wanted, "testtype": kind} for given, wanted in cases])

    starter = "" if function is None else f"class Solution:\n    def {function}(self, x):\n        "
    row = {
        "question_title": name,
        "question_content": f"The problem {name}.",
        "platform": "atcoder" if function is None else "leetcode",
        "question_id": name,
        "contest_id": "abc300",
        "contest_date": "2025-03-01T00:00:00",
        "starter_code": starter,
        "difficulty": "easy",
        "public_test_cases": as_json(tests),
        "private_test_cases": packed(as_json(private)),
        "metadata": json.dumps({} if function is None else {"func_name": function}),
    }
    return {**row, **changes}


def score_livecodebench(sandbox: Sandbox, folder: Path, program: str, tests: Tests, **changes: Any) -> Score:
    """Of one program, against one problem that is loaded from a file."""
    path = write_jsonl(folder / "test.jsonl", [livecodebench_row("p", tests, **changes)])
    return problems_in("livecodebench-v6", path)["p"].score(program, sandbox)


HUMANEVAL_ROW = {
    "task_id": "HumanEval/0",
    "prompt": "from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    '''Their sum.'''\n",
    "entry_point": "total",
    "canonical_solution": "    return sum(xs)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
}

MBPP_ROW = {
    "task_id": 11,
    "text": "Write a function to find the shared elements of two lists.",
    "code": "def shared(a, b):\r\n  return tuple(set(a) & set(b))",
    "test_list": [
        "assert set(shared((3, 4, 5), (5, 4, 10))) == set((4, 5))",
        "assert shared([7], [7]) == (7,)",
        "assert not shared((1, 2), (5, 4))",
    ],
    "test_setup_code": "",
    "challenge_test_list": [],
}

SHELL_ROW = {
    "name": "HumanEval_23_strlen",
    "language": "sh",
    "prompt": "#!/bin/bash\n# Return length of given string\n#\n# $1 is a string\nstrlen() {\n",
    "doctests": "transform",
    "original": "/home/arjun/repos/nuprl/MultiPL-E/HumanEval_23_strlen.py",
    "prompt_terminology": "reworded",
    "tests": (
        '}\n\ncandidate() {\n    strlen "$@"\n}\n\nset -e\nrun_test() {\n    [[ $(candidate "") = "0" ]]\n'
        '    [[ $(candidate "a\\"b = \\$c") = "8" ]]\n    [[ $(candidate "asdasnakj") = "9" ]]\n}\n\nrun_test'
    ),
    "stop_tokens": ["\n}"],
}

AIME_ROW = {"id": 60, "problem": "What is $2 \\cdot 21$?", "answer": "042", "year": "2024"}

MMLU_ROW = {
    "question": "Which is a prime?",
    "subject": "abstract_algebra",
    "choices": ["4", "6", "7", "8"],
    "answer": 2,
}

CRUX_ROW = {"id": "sample_0", "code": "def f(x):\n    return x + 1", "input": "4", "output": "5"}
