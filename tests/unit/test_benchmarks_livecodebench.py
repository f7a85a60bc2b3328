"""LiveCodeBench: what its files hold, what they must not hold, and the verdicts that real Python deserves."""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmark_cases import livecodebench_row, packed, problems_in, score_livecodebench, write_jsonl
from sandbox_cases import open_sandbox

from forklock.benchmarks import BenchmarkError, load_benchmark
from forklock.benchmarks.compare import lines_differ
from forklock.benchmarks.livecodebench import FunctionProblem, ProgramProblem, defines_class
from forklock.code_blocks import last_code_block
from forklock.sandbox.pool import Sandbox

SUM = "a, b = map(int, input().split())\nprint(a + b)"
SUM_TESTS = [("1 2\n", "3\n"), ("3 4\n", "7\n")]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as opened:
        yield opened


def test_a_release_is_read_whole_and_cut_to_its_window(tmp_path: Path) -> None:
    rows = [
        livecodebench_row("jul", contest_date="2024-07-31T23:59:59"),
        livecodebench_row("aug", contest_date="2024-08-01T00:00:00", difficulty="hard"),
        livecodebench_row("feb", contest_date="2025-02-28T09:00:00"),
        livecodebench_row("mar", contest_date="2025-03-01T00:00:00", func_name="f", tests=[("[1]\n2", "3")]),
        livecodebench_row("jun", contest_date="2025-06-01T00:00:00"),
    ]
    write_jsonl(tmp_path / "test5.jsonl", rows[:2])
    write_jsonl(tmp_path / "test6.jsonl", rows[2:])
    v5, v6 = (load_benchmark(name, str(tmp_path)) for name in ("livecodebench-v5", "livecodebench-v6"))
    assert [problem.problem_id for problem in v5.problems] == ["aug", "feb"]
    assert [problem.problem_id for problem in v6.problems] == ["feb", "mar"]
    assert [problem.difficulty for problem in v5.problems] == ["hard", "easy"]
    assert v5.notes == ("livecodebench-v5: 2 problems, 374 were expected",)
    assert v6.notes == ("livecodebench-v6: 2 problems, 131 were expected",)
    assert [problem.prompt.form for problem in v6.problems] == ["program", "function"]


def test_private_tests_are_read_plain_and_packed(tmp_path: Path) -> None:
    private = [("5 6\n", "11\n")]
    plain = json.dumps([{"input": "5 6\n", "output": "11\n", "testtype": "stdin"}])
    rows = [livecodebench_row("a", private=private), livecodebench_row("b", private_test_cases=plain)]
    for problem in problems_in("livecodebench-v6", write_jsonl(tmp_path / "t.jsonl", rows)).values():
        assert isinstance(problem, ProgramProblem)
        assert (problem.inputs, problem.outputs) == (("1 2\n", "5 6\n"), ("3\n", "11\n"))


def test_arguments_and_values_are_json_a_line_each(tmp_path: Path) -> None:
    row = livecodebench_row("a", tests=[('"a=b\\"c"\n[1, null]', "[2.5, true]")], func_name="f")
    [problem] = problems_in("livecodebench-v6", write_jsonl(tmp_path / "t.jsonl", [row])).values()
    assert isinstance(problem, FunctionProblem)
    assert (problem.arguments, problem.values) == ((['a=b"c', [1, None]],), ([2.5, True],))


class _RunsWhenOpened:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["MARK"],)


def _pack(value: object, protocol: int = 4) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


def test_a_pickle_of_anything_but_one_string_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    for value in (_RunsWhenOpened(), ["a", "b"], {"a": 1}, 3, b"[]", ("[]", _RunsWhenOpened())):
        row = livecodebench_row("a", private_test_cases=_pack(value))
        path = write_jsonl(tmp_path / "t.jsonl", [row])
        with pytest.raises(BenchmarkError, match=r"t\.jsonl line 1: `private_test_cases` holds a pickle of more than"):
            load_benchmark("livecodebench-v6", str(path))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_one_string_is_read(protocol: int, tmp_path: Path) -> None:
    text = json.dumps([{"input": "é" * 300, "output": "\ud83d", "testtype": "stdin"}])
    row = livecodebench_row("a", private_test_cases=_pack(text, protocol))
    [problem] = problems_in("livecodebench-v6", write_jsonl(tmp_path / "t.jsonl", [row])).values()
    assert isinstance(problem, ProgramProblem)
    assert problem.inputs[1] == "é" * 300


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"private_test_cases": "not base64!"}, "`private_test_cases` cannot be unpacked"),
        ({"private_test_cases": packed("[]")[:-12]}, "`private_test_cases` cannot be unpacked"),
        ({"private_test_cases": packed("[{")}, "`private_test_cases` is not JSON"),
        ({"public_test_cases": '[{"input": "1"}]'}, "`public_test_cases`: test 1 has no expected `output`"),
        ({"public_test_cases": '[{"input": "1", "output": null}]'}, "test 1 has no expected `output`"),
        ({"public_test_cases": "[]"}, "has no tests, so that any program would pass"),
        ({"contest_date": "yesterday"}, "`contest_date` is 'yesterday', not a date"),
        ({"difficulty": "extreme"}, "`difficulty` is 'extreme'"),
        ({"metadata": "{"}, "`metadata` is not JSON"),
        ({"question_content": None}, "`question_content` is missing"),
        ({"func_name": "f", "tests": [("1", "nan(")]}, "`output` is not JSON"),
    ],
)
def test_faults_are_named_with_file_and_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [livecodebench_row("a"), livecodebench_row("b", **changes)])
    with pytest.raises(BenchmarkError) as caught:
        load_benchmark("livecodebench-v6", str(path))
    assert str(caught.value).startswith(f"{path} line 2: ")
    assert message in str(caught.value)


def test_a_file_cut_short_and_a_problem_twice_are_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [livecodebench_row("a"), livecodebench_row("b")])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BenchmarkError, match=r"t\.jsonl line 2: is not JSON .* cut short"):
        load_benchmark("livecodebench-v6", str(path))
    write_jsonl(path, [livecodebench_row("a")] * 2)
    with pytest.raises(BenchmarkError, match=r"t\.jsonl line 2: problem a is in .*t\.jsonl line 1 already"):
        load_benchmark("livecodebench-v6", str(path))
    with pytest.raises(BenchmarkError, match=r"no such file or folder; see evaluate\.data_paths"):
        load_benchmark("livecodebench-v6", str(tmp_path / "none.jsonl"))


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("3\n", "3", True),
        ("  3  \n\n", "3\n", True),
        ("3.0", "3", True),
        ("1e2 0.5", "100 .50", True),
        ("3 x", "3.0 x", False),
        ("1\n2", "1 2", False),
        ("1\n\n2", "1\n2", False),
        ("yes", "Yes", False),
        ("nan", "nan", True),
        ("nan 1", "nan 1.0", False),
        ("snan", "1", False),
        ("", "", True),
        ("0.30000000000000004", "0.3", False),
    ],
)
def test_lines_are_compared_as_text_then_as_decimals(printed: str, expected: str, same: bool) -> None:
    assert (lines_differ(printed, expected) is None) is same


RIGHT_PROGRAMS = {
    "stdin.buffer.readline twice": "import sys\nr = sys.stdin.buffer.readline\nprint(sum(map(int, (r() + r()).split())))",
    "stdin.buffer.readlines": "import sys\nprint(sum(map(int, b' '.join(sys.stdin.buffer.readlines()).split())))",
    "input, then read": "import sys\na = input()\nprint(sum(map(int, (a + ' ' + sys.stdin.read()).split())))",
    "number of lines": "import sys\nlines = sys.stdin.readlines()\nassert len(lines) == 2\nprint(sum(map(int, ' '.join(lines).split())))",
    "open(0)": "print(sum(map(int, open(0).read().split())))",
    "stdout.buffer.write": "import sys\nsys.stdout.buffer.write(b'%d' % sum(map(int, open(0).read().split())))",
    "os.write": "import os\nos.write(1, b'%d' % sum(map(int, open(0).read().split())))",
    "os.read": "import os\nprint(sum(map(int, os.read(0, 99).split())))",
    "__stdout__": "import sys\nsys.__stdout__.write(str(sum(map(int, open(0).read().split()))))",
    "stdout closed": "import sys\nprint(sum(map(int, open(0).read().split())))\nsys.stdout.close()",
    "global": "total = 0\ndef add(x):\n    global total\n    total += x\nfor x in open(0).read().split(): add(int(x))\nprint(total)",
    "exec": "exec('y=sum(map(int, open(0).read().split()))')\nprint(y)",
    "exit()": "print(sum(map(int, open(0).read().split())))\nexit()\nprint('never')",
    "quit()": "print(sum(map(int, open(0).read().split())))\nquit()",
    "guard that is not last": "def main(): print(f())\nif __name__ == '__main__':\n    x = sum(map(int, open(0).read().split()))\ndef f(): return x\nmain()",
    "guard in try": "try:\n    if __name__ == '__main__':\n        print(sum(map(int, open(0).read().split())))\nexcept ValueError:\n    pass",
    "future import": "from __future__ import annotations\nprint(sum(map(int, open(0).read().split())))",
    "resource": "import resource\nprint(sum(map(int, open(0).read().split())))",
    "environ": "import os\nos.environ['K'] = 'v'\nprint(sum(map(int, open(0).read().split())))",
    "unjoined thread": "import threading\nthreading.Thread(target=lambda: print(sum(map(int, open(0).read().split())))).start()",
    "atexit": "import atexit\nx = sum(map(int, open(0).read().split()))\natexit.register(lambda: print(x))",
    "os._exit after output": "import os\nprint(sum(map(int, open(0).read().split())), flush=True)\nos._exit(0)",
    "monkeypatched module": "import math\nassert not hasattr(math, 'used')\nmath.used = True\nprint(sum(map(int, open(0).read().split())))",
    "stderr has a descriptor": "import sys\nsys.stderr.fileno()\nprint(sum(map(int, open(0).read().split())))",
    "class in a comment": "# class Solution:\nprint(sum(map(int, open(0).read().split())))",
    "fence printed": "print(sum(map(int, open(0).read().split())))  # not print('```')",
    "fence in a string": "x = '''\n```\n'''\nprint(sum(map(int, open(0).read().split())))",
}


@pytest.mark.parametrize("name", RIGHT_PROGRAMS)
def test_right_programs_that_graders_fail_pass(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    tests = [("1 2\n3", "6\n"), ("4 5\n6\n", "15\n")]
    assert last_code_block(f"So:\n```python\n{RIGHT_PROGRAMS[name]}\n```\nDone.") == f"{RIGHT_PROGRAMS[name]}\n"
    assert score_livecodebench(sandbox, tmp_path, RIGHT_PROGRAMS[name], tests).verdict == "passed"
    assert score_livecodebench(sandbox, tmp_path, RIGHT_PROGRAMS[name], [("1 2\n3", "7\n")]).verdict == "wrong_answer"


FORGE = (
    "import gc, os\ndef forge():\n    for thing in gc.get_objects():\n        if type(thing) is list: thing.append('passed'); thing.append(True)\n"
    "    os._exit(0)\n"
)
WRONG_PROGRAMS = {
    "exit 1 after output": ("import sys\nprint(3)\nsys.exit(1)", "runtime_error"),
    "exception after output": ("print(3)\nraise ValueError", "runtime_error"),
    "missing import": ("a, b = map(int, input().split())\nprint(math.floor(a + b))", "runtime_error"),
    "recursion to 5,000": ("def f(n): return 0 if n == 0 else 1 + f(n - 1)\nf(5000)\nprint(3)", "runtime_error"),
    "sleep past the limit": ("import time\ntime.sleep(1e9)", "timeout"),
    "timeout caught": (
        "print(3, flush=True)\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "timeout",
    ),
    "alarm turned off": ("import signal\nsignal.alarm(0)\nwhile True: pass", "timeout"),
    "exit before the answer": ("import os\nos._exit(0)", "wrong_answer"),
    "expected value from a frame": (
        "import sys\nf = sys._getframe()\nwhile f:\n    for v in list(f.f_locals.values()):\n        if v == '3\\n': print(v)\n    f = f.f_back",
        "wrong_answer",
    ),
    "expected value from the heap": (
        "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict) and 'outputs' in o: print(o['outputs'][0])",
        "wrong_answer",
    ),
    "verdicts appended to every list, then an end": (f"{FORGE}forge()", "wrong_answer"),
    "comparison replaced": (
        "import builtins, operator, sys\nbuiltins.all = builtins.any = operator.eq = lambda *a: True\n"
        "class Equal(str):\n    def __eq__(self, other): return True\n    def strip(self): return self\n"
        "    def split(self, *a): return [self]\nsys.stdout.write(Equal('4'))",
        "wrong_answer",
    ),
    "no code that compiles": ("def", "compile_error"),
    "all memory": ("x = bytearray(1 << 40)", "memory"),
    "endless output": ("while True: print('3' * 9999)", "output_limit"),
}


@pytest.mark.parametrize("name", WRONG_PROGRAMS)
def test_wrong_programs_that_graders_pass_fail(
    name: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forklock.benchmarks.livecodebench.LIMITS", sandbox.limits)
    program, verdict = WRONG_PROGRAMS[name]
    score = score_livecodebench(sandbox, tmp_path, program, [("1 2\n", "3\n")])
    assert (score.verdict, score.failing_test) == (verdict, 0)


def test_the_first_failing_test_is_kept_and_those_after_it_don_t_run(sandbox: Sandbox, tmp_path: Path) -> None:
    program = "a, b = map(int, input().split())\nprint(a + b if a < 3 else 'no')"
    score = score_livecodebench(sandbox, tmp_path, program, [*SUM_TESTS, ("1 1", "2")])
    assert (score.verdict, score.failing_test, score.num_tests_run) == ("wrong_answer", 1, 2)
    assert (score.expected, score.got) == ("7", "no")
    assert score.is_isolated
    assert 5 << 20 < score.peak_memory_bytes < 100 << 20
    assert 0 < score.cpu_s < 1
    assert score_livecodebench(sandbox, tmp_path, SUM, SUM_TESTS).verdict == "passed"
    long = score_livecodebench(sandbox, tmp_path, "print('x' * 10**6)", SUM_TESTS)
    assert len(long.got) < 400


FUNCTIONS = {
    "method": ("class Solution:\n    def f(self, x): return x + 1", "passed"),
    "plain function": ("def f(x): return x + 1", "passed"),
    "plain function under a comment": ("# class Solution:\ndef f(x): return x + 1", "passed"),
    "plain function with a text": ("s = '''\nclass Solution:\n'''\ndef f(x): return x + 1", "passed"),
    "prelude": (
        "class Solution:\n    def f(self, x: Optional[List[int]]) -> int: return math.floor(sqrt(x * x)) + len(Counter('a'))",
        "passed",
    ),
    "future import with the prelude": (
        "from __future__ import annotations\nclass Solution:\n    def f(self, x: Missing): return x + 1",
        "passed",
    ),
    "float of the same value": ("def f(x): return x + 1.0", "passed"),
    "text": ("def f(x): return str(x + 1)", "wrong_answer"),
    "equal to everything": ("class A:\n    def __eq__(self, other): return True\ndef f(x): return A()", "wrong_answer"),
    "int that is equal to everything": (
        "class A(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return A(9)",
        "wrong_answer",
    ),
    "state in self": (
        "class Solution:\n    n = 0\n    def f(self, x):\n        Solution.n += 1\n        return x + Solution.n",
        "passed",
    ),
    "state in self, of a program that counts its tests": (
        "class Solution:\n    n = 1\n    def f(self, x):\n        Solution.n += 1\n        return Solution.n",
        "wrong_answer",
    ),
    "verdicts appended to every list, then an end": (f"{FORGE}def f(x): forge()", "runtime_error"),
    "comparison replaced": (
        "import builtins, operator\nbuiltins.all = builtins.any = operator.eq = lambda *a: True\ndef f(x): return 7",
        "wrong_answer",
    ),
    "nothing": ("class Solution:\n    def f(self, x): pass", "wrong_answer"),
    "another name": ("class Solution:\n    def g(self, x): return x + 1", "runtime_error"),
    "exit": ("import os\nos._exit(0)", "runtime_error"),
    "printed, not returned": ("class Solution:\n    def f(self, x): print(x + 1)", "wrong_answer"),
    "the result forged on every descriptor": (
        "import os\nfor d in range(3, 256):\n    try: os.write(d, b'3')\n    except OSError: pass\nos._exit(0)",
        "wrong_answer",
    ),
    "json replaced": ("import json\njson.dumps = json.loads = lambda *a: 2\ndef f(x): return 7", "wrong_answer"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functional_answers(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    program, verdict = FUNCTIONS[name]
    score = score_livecodebench(sandbox, tmp_path, program, [("1", "2"), ("2", "3")], func_name="f")
    assert score.verdict == verdict, score


@pytest.mark.parametrize(
    ("expression", "expected", "verdict"),
    [
        ("1", "true", "wrong_answer"),
        ("True", "1", "wrong_answer"),
        ("[True]", "[1]", "wrong_answer"),
        ("(1, 2)", "[1, 2]", "passed"),
        ("[(1, 2)]", "[[1, 2]]", "wrong_answer"),
        ("[1, 2]", "[1, 2.0]", "passed"),
        ("{'a': [1]}", '{"a": [1]}', "passed"),
        ("{'a': [True]}", '{"a": [1]}', "wrong_answer"),
        ("None", "null", "passed"),
        ("0.1 + 0.2", "0.3", "wrong_answer"),
        ("10 ** 5000", "1", "wrong_answer"),
        ("'=\"\\\\'", '"=\\"\\\\"', "passed"),
    ],
)
def test_values_are_compared_with_their_types(
    expression: str, expected: str, verdict: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    program = f"class Solution:\n    def f(self, x): return {expression}"
    assert score_livecodebench(sandbox, tmp_path, program, [("0", expected)], func_name="f").verdict == verdict


def test_arguments_hold_what_json_can_hold(sandbox: Sandbox, tmp_path: Path) -> None:
    program = "class Solution:\n    def f(self, text): return [text, len(text)]"
    given = 'k = "v\\"\n = 2'
    tests = [(json.dumps(given), json.dumps([given, len(given)]))]
    assert score_livecodebench(sandbox, tmp_path, program, tests, func_name="f").verdict == "passed"


def test_a_class_is_told_from_words_about_it() -> None:
    assert defines_class("x = 1\nclass  Solution(object):\n    pass", "Solution")
    assert not defines_class("# class Solution:\n'class Solution:'\nclass Other: pass", "Solution")
    assert not defines_class('"""\nclass Solution:\n"""\ndef f(): pass', "Solution")
    assert not defines_class("class Solutions: pass", "Solution")


def test_a_class_is_found_beside_lines_that_no_person_writes() -> None:
    """Tokenizing this line would take hours."""
    endless = "'a\\" * 1_000_000
    assert defines_class(f"class Solution:\n    x = 1\n{endless}", "Solution")
    assert not defines_class(f"# class Solution\n{endless}", "Solution")
