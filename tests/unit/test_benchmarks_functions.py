"""HumanEval, MBPP, HumanEval in Shell: assertions about functions that never meet the program."""

# ruff: noqa: E501 - whole programs stand in these lines

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from benchmark_cases import HUMANEVAL_ROW, MBPP_ROW, SHELL_ROW, problems_in, shared_data, write_jsonl
from sandbox_cases import open_sandbox

from forklock.benchmarks import BenchmarkError, Score, load_benchmark
from forklock.benchmarks.humaneval import HumanEvalProblem
from forklock.benchmarks.mbpp import read_assertion
from forklock.config import BenchmarkName
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox(Limits(), num_workers=2) as opened:
        yield opened


def score(sandbox: Sandbox, folder: Path, name: BenchmarkName, row: dict[str, Any], program: str) -> Score:
    [problem] = problems_in(name, write_jsonl(folder / "rows.jsonl", [row])).values()
    return problem.score(program, sandbox)


@pytest.fixture(scope="module")
def humaneval() -> list[HumanEvalProblem]:
    loaded = load_benchmark("humaneval", str(shared_data("HumanEval.jsonl.gz")))
    assert loaded.notes == ()
    return [problem for problem in loaded.problems if isinstance(problem, HumanEvalProblem)]


def test_all_canonical_solutions_pass(humaneval: list[HumanEvalProblem], sandbox: Sandbox) -> None:
    assert len(humaneval) == 164
    with ThreadPoolExecutor(2) as pool:
        programs = [problem.prompt.statement + problem.solution for problem in humaneval]
        scores = list(pool.map(lambda problem, program: problem.score(program, sandbox), humaneval, programs))
    assert {
        problem.problem_id: score for problem, score in zip(humaneval, scores, strict=True) if score.verdict != "passed"
    } == {}


@pytest.mark.parametrize(
    "body",
    [
        "    return None\n",
        "    raise SystemExit(0)\n",
        "    import os\n    os._exit(0)\n",
        "    class Yes:\n        def __eq__(self, other): return True\n        def __abs__(self): return self\n        def __sub__(self, other): return self\n"
        "        def __lt__(self, other): return True\n        def __iter__(self): return iter(())\n    return Yes()\n",
        "    import sys\n    frame = sys._getframe()\n    while frame:\n        for value in list(frame.f_globals.values()) + list(frame.f_locals.values()):\n"
        "            if callable(value) and getattr(value, '__name__', '') == 'check': return 'found'\n        frame = frame.f_back\n",
    ],
)
def test_no_problem_accepts_a_program_that_solves_none(
    body: str, humaneval: list[HumanEvalProblem], sandbox: Sandbox
) -> None:
    with ThreadPoolExecutor(2) as pool:
        scores = pool.map(lambda problem: problem.score(problem.prompt.statement + body, sandbox), humaneval)
        passed = [
            problem.problem_id for problem, score in zip(humaneval, scores, strict=True) if score.verdict == "passed"
        ]
    assert passed == []


def test_tolerances_and_properties_count_as_the_data_set_has_them(
    humaneval: list[HumanEvalProblem], sandbox: Sandbox
) -> None:
    by_name = {problem.name: problem for problem in humaneval}
    truncate, root = by_name["truncate_number"], by_name["find_zero"]
    close = "def truncate_number(number):\n    return number % 1 + 1e-7\n"
    far = "def truncate_number(number):\n    return number % 1 + 1e-3\n"
    assert truncate.score(close, sandbox).verdict == "wrong_answer"  # its first assertion is an equality
    assert truncate.score(far, sandbox).failing_test == 0
    bisect = (
        "def find_zero(xs):\n    low, high = -1000.0, 1000.0\n    for _ in range(200):\n        middle = (low + high) / 2\n"
        "        if poly(xs, low) * poly(xs, middle) <= 0: high = middle\n        else: low = middle\n    return high\n"
    )
    assert root.score(bisect, sandbox).verdict == "passed"
    assert root.score("def find_zero(xs): return 0.0\n", sandbox).verdict == "wrong_answer"


def test_random_inputs_are_the_same_when_values_are_played_back(
    humaneval: list[HumanEvalProblem], sandbox: Sandbox
) -> None:
    add = next(problem for problem in humaneval if problem.name == "add" and "randint" in problem.check)
    # Equal to the canonical values, but not of their type: only `check` itself can say so.
    assert add.score("def add(x, y): return float(x + y)\n", sandbox).verdict == "passed"
    assert add.score("def add(x, y): return float(x + y) if x < 900 else 0\n", sandbox).verdict == "wrong_answer"


def test_helpers_and_imports_of_the_statement_are_there(humaneval: list[HumanEvalProblem], sandbox: Sandbox) -> None:
    decode = next(problem for problem in humaneval if problem.name == "decode_cyclic")
    program = "def decode_cyclic(s: str):\n    return encode_cyclic(encode_cyclic(s))\n"
    assert decode.score(program, sandbox).verdict == "passed"
    assert decode.score("from __future__ import annotations\n" + program, sandbox).verdict == "passed"
    assert decode.score(program.replace("encode_cyclic(s)", "s"), sandbox).verdict == "wrong_answer"


@pytest.mark.parametrize(
    ("program", "verdict", "failing_test"),
    [
        ("def total(xs): return sum(xs)", "passed", None),
        ("def total(xs): return float(sum(xs))", "passed", None),
        ("def total(xs): return 3", "wrong_answer", 1),
        ("def total(xs): return '3'", "wrong_answer", 0),
        ("def total(xs): return sum(xs) / len(xs) * 2 if xs else 0", "passed", None),
        ("def total(xs): return 3 if xs else 1 / 0", "runtime_error", 1),
        ("def total(xs): return 4 if xs else 1 / 0", "wrong_answer", 0),
        ("def other(xs): return 3", "runtime_error", 0),
        ("def total(xs", "compile_error", None),
        ("def total(xs):\n    while True: pass", "timeout", None),
        ("def total(xs):\n    return bytearray(1 << 40)", "memory", 0),
        ("def total(xs):\n    xs.append(0)\n    return sum(xs)", "passed", None),
        ("import copy\ncopy.deepcopy = None\ndef total(xs): return sum(xs)", "passed", None),
        ("def total(xs): return 10 ** 6000", "wrong_answer", 0),
        (
            "def total(xs):\n    import gc, os\n    for o in gc.get_objects():\n        if type(o) is list: o.append('passed')\n    os._exit(0)",
            "runtime_error",
            None,
        ),
        ("def total(xs): return globals()['check']", "runtime_error", 0),
        (
            "def total(xs):\n    import gc\n    return [o for o in gc.get_objects() if isinstance(o, str) and 'assert' in o]",
            "wrong_answer",
            0,
        ),
        ("def __forklock_calls__(calls): return [[3, 0], '']\ntotal = None", "runtime_error", 0),
        ('import atexit, os\nos.write(3, b\'["l",["l",3,0],""]\')\nos._exit(0)', "passed", None),
    ],
)
def test_programs_and_their_verdicts(
    program: str,
    verdict: str,
    failing_test: int | None,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("forklock.benchmarks.humaneval.LIMITS", Limits(cpu_s=1.0))
    found = score(sandbox, tmp_path, "humaneval", HUMANEVAL_ROW, program)
    assert (found.verdict, found.failing_test) == (verdict, failing_test), found


def test_a_base_model_s_completion_ends_with_the_function(tmp_path: Path) -> None:
    [problem] = problems_in("humaneval", write_jsonl(tmp_path / "r.jsonl", [HUMANEVAL_ROW])).values()
    text = "    x = sum(xs)\n    # so\n    return x\n\n\ndef other():\n    pass\n"
    assert problem.answer_in(text, "base") == HUMANEVAL_ROW["prompt"] + "    x = sum(xs)\n    # so\n    return x\n\n"
    assert problem.answer_in("Say\n```python\na\n```\nor\n```python\nb\n```\n", "instruct") == "b\n"
    assert problem.answer_in("<think>\n```python\na\n```\n", "thinking") is None
    assert problem.answer_of_completion("    return 1\n") == HUMANEVAL_ROW["prompt"] + "    return 1\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entry_point": "sum_of"}, "`prompt` does not define 'sum_of'"),
        ({"test": "assert True"}, "`test` defines no `check`"),
        ({"canonical_solution": None}, "`canonical_solution` is missing"),
        ({"task_id": " "}, "`task_id` is empty"),
    ],
)
def test_faults_of_humaneval_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "r.jsonl.gz", [HUMANEVAL_ROW, {**HUMANEVAL_ROW, "task_id": "b", **changes}])
    with pytest.raises(BenchmarkError) as caught:
        load_benchmark("humaneval", str(path))
    assert str(caught.value).startswith(f"{path} line 2: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"canonical_solution": "    return 7\n"}, {"test": "def check(candidate):\n    pass\n"}]
)
def test_a_check_that_its_own_solution_fails_or_that_calls_nothing_is_refused(
    changes: dict[str, Any], sandbox: Sandbox, tmp_path: Path
) -> None:
    with pytest.raises(BenchmarkError, match=r"line 1: problem HumanEval/0: its canonical solution does not pass"):
        score(sandbox, tmp_path, "humaneval", {**HUMANEVAL_ROW, **changes}, "def total(xs): return 7")


def test_a_compressed_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(HUMANEVAL_ROW).encode())[:-20])
    with pytest.raises(BenchmarkError, match=r"r\.jsonl\.gz line 1: cannot be read: .*see evaluate\.data_paths"):
        load_benchmark("humaneval", str(path))


@pytest.mark.parametrize(
    ("program", "verdict", "failing_test"),
    [
        (MBPP_ROW["code"], "passed", None),
        ("def shared(a, b): return [x for x in a if x in b]", "wrong_answer", 1),
        ("def shared(a, b): return (7,) if a == b else (4, 5)", "wrong_answer", 2),
        ("def shared(a, b): return None", "wrong_answer", 0),
        ("def shared(a): return None", "runtime_error", 0),
        ("import sys\nsys.exit(0)", "runtime_error", None),
        (
            "class Any(tuple):\n    def __eq__(self, other): return True\n    __hash__ = None\ndef shared(a, b): return Any()",
            "wrong_answer",
            0,
        ),
    ],
)
def test_mbpp(program: str, verdict: str, failing_test: int | None, sandbox: Sandbox, tmp_path: Path) -> None:
    found = score(sandbox, tmp_path, "mbpp", MBPP_ROW, program)
    assert (found.verdict, found.failing_test) == (verdict, failing_test), found


def test_mbpp_s_calls_may_use_classes_of_the_program_and_the_setup(sandbox: Sandbox, tmp_path: Path) -> None:
    row = {
        **MBPP_ROW,
        "code": "class Pair:\n  def __init__(self, a, b): self.a, self.b = a, b\ndef longest(pairs): return max(p.b - p.a for p in pairs)",
        "test_list": ["assert longest([Pair(1, 3), wide]) == 9"],
        "test_setup_code": "wide = Pair(1, 10)",
    }
    assert score(sandbox, tmp_path, "mbpp", row, row["code"]).verdict == "passed"
    found = score(sandbox, tmp_path, "mbpp", row, row["code"].replace("max", "min"))
    assert (found.verdict, found.expected, found.got) == ("wrong_answer", "got[0] == 9", "[2]")


def test_mbpp_s_sanitized_schema_and_its_imports(sandbox: Sandbox, tmp_path: Path) -> None:
    row = {
        "task_id": 3,
        "prompt": "Write a function for the area.",
        "code": "import math\ndef area(r): return math.pi * r * r",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(area(1), 3.14159, rel_tol=0.001)"],
    }
    [problem] = problems_in("mbpp", write_jsonl(tmp_path / "r.jsonl", [row])).values()
    assert row["test_list"][0] in problem.prompt.statement
    assert problem.score("def area(r): return 3.1415 * r * r", sandbox).verdict == "passed"
    assert problem.score("def area(r): return 3 * r * r", sandbox).verdict == "wrong_answer"


def test_an_assertion_is_taken_apart_at_its_call() -> None:
    simple = read_assertion("assert f([1], 'a == b') == {'x': [2]}", {"f"}, 3)
    assert simple is not None
    assert (simple.calls, simple.test, simple.expected) == (
        "[f([1], 'a == b')]",
        "__forklock_values__[3][0] == {'x': [2]}",
        ({"x": [2]},),
    )
    wrapped = read_assertion("assert not len(f(f(1))) > 2", {"f"}, 0)
    assert wrapped is not None
    assert (wrapped.calls, wrapped.test) == ("[f(f(1))]", "not len(__forklock_values__[0][0]) > 2")
    two = read_assertion("assert f(1) == g(f(2))", {"f"}, 1)
    assert two is not None
    assert (two.calls, two.test) == ("[f(1), f(2)]", "__forklock_values__[1][0] == g(__forklock_values__[1][1])")
    assert (wrapped.expected, two.expected) == (None, None)
    for text in ("assert g(1) == 2", "f(1)", "assert f(", "x = 1; assert f(x)"):
        assert read_assertion(text, {"f"}, 0) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_list": []}, "`test_list` is empty"),
        ({"test_list": ["assert other(1) == 2"]}, "is not an assertion about a call"),
        ({"code": "def f("}, "`code` is not Python"),
        ({"test_list": "assert shared(1)"}, "`test_list` is not a list of texts"),
    ],
)
def test_faults_of_mbpp_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "r.jsonl", [{**MBPP_ROW, **changes}])
    with pytest.raises(BenchmarkError) as caught:
        load_benchmark("mbpp", str(path))
    assert str(caught.value).startswith(f"{path} line 1: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("body", "verdict", "failing_test"),
    [
        ('    echo "${#1}"\n}\n', "passed", None),
        ('    printf %s "${#1}"\n    return 1\n}\n', "passed", None),
        ('    echo "${#1}"\n    exit 7\n}\n', "passed", None),
        ('    echo "${#1}"\n}\necho "an example: $(strlen x)"\n', "passed", None),
        ("    echo 9\n}\n", "wrong_answer", 0),
        ("    echo 0\n}\nexit 0\n", "wrong_answer", 0),
        ("    printf 0 >&9\n}\n", "wrong_answer", 1),
        ("    while true; do :; done\n}\n", "timeout", 0),
        ("    kill -9 0\n}\n", "runtime_error", 0),
        ("    if\n", "runtime_error", 0),
        ("    cat /proc/*/cmdline /tmp/* | tr -dc 0-9 | tail -c1\n}\n", "wrong_answer", 1),
    ],
)
def test_shell(
    body: str, verdict: str, failing_test: int | None, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forklock.benchmarks.humaneval_shell.LIMITS", Limits(cpu_s=1.0))
    program = str(SHELL_ROW["prompt"]) + body
    found = score(sandbox, tmp_path, "humaneval-shell", SHELL_ROW, program)
    assert (found.verdict, found.failing_test) == (verdict, failing_test), found


def test_shell_tests_are_taken_apart_as_bash_reads_them(tmp_path: Path) -> None:
    [problem] = problems_in("humaneval-shell", write_jsonl(tmp_path / "r.jsonl", [SHELL_ROW])).values()
    assert vars(problem)["calls"] == (' ""', ' "a\\"b = \\$c"', ' "asdasnakj"')
    assert vars(problem)["outputs"] == ("0", "8", "9")
    assert problem.prompt.form == "shell"
    assert problem.answer_in("    echo 1\n}\n\nmore() {\n}\n", "base") == str(SHELL_ROW["prompt"]) + "    echo 1\n}\n"
    assert problem.answer_of_completion("    echo 1\n}") == str(SHELL_ROW["prompt"]) + "    echo 1\n}"


def test_shell_tests_that_expect_several_lines(sandbox: Sandbox, tmp_path: Path) -> None:
    tests = '}\n\ncandidate() {\n    f "$@"\n}\n\nset -e\nrun_test() {\n    [[ $(candidate "2" "]] = x") = "a\\\\\n`b\\"" ]]\n}\n\nrun_test'
    row = {**SHELL_ROW, "prompt": "f() {\n", "tests": tests.replace("`", "\\`")}
    program = "f() {\n    printf '%s\\n' 'a\\' '`b\"'\n}\n"
    assert score(sandbox, tmp_path, "humaneval-shell", row, program).verdict == "passed"


def test_faults_of_shell_rows_are_named(tmp_path: Path) -> None:
    for changes, message in (
        ({"tests": "run_test"}, "does not define `candidate` and `run_test`"),
        ({"tests": str(SHELL_ROW["tests"]).replace('= "9"', "-eq 9")}, "not a call and an expected text"),
    ):
        path = write_jsonl(tmp_path / "r.jsonl", [{**SHELL_ROW, **changes}])
        with pytest.raises(BenchmarkError, match=rf"r\.jsonl line 1: `tests`.*{message}"):
            load_benchmark("humaneval-shell", str(path))
