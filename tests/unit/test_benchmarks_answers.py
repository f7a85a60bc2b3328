"""CRUXEval, AIME, MMLU: what counts as an answer in a text, and what it is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from benchmark_cases import AIME_ROW, CRUX_ROW, MMLU_ROW, problems_in, shared_data, write_jsonl
from sandbox_cases import open_sandbox

from forklock.benchmarks import BENCHMARKS, BenchmarkError, Problem, load_benchmark
from forklock.benchmarks.aime import number_in
from forklock.code_blocks import Style
from forklock.config import BenchmarkName
from forklock.sandbox.limits import Limits
from forklock.sandbox.pool import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox(Limits(), num_workers=2) as opened:
        yield opened


def one_problem(name: BenchmarkName, folder: Path, row: dict[str, Any]) -> Problem:
    [problem] = problems_in(name, write_jsonl(folder / "rows.jsonl", [row])).values()
    return problem


@pytest.mark.parametrize("name", ["cruxeval-input", "cruxeval-output"])
def test_all_references_score_right(name: BenchmarkName, sandbox: Sandbox) -> None:
    path = shared_data("cruxeval.jsonl")
    loaded = load_benchmark(name, str(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert (len(loaded.problems), loaded.notes) == (800, ())
    answers = [f"assert f({row['input']}) == {row['output']}" for row in rows]
    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(lambda problem, answer: problem.score(answer, sandbox), loaded.problems, answers))
    assert [
        problem.problem_id for problem, score in zip(loaded.problems, scores, strict=True) if score.verdict != "passed"
    ] == []


@pytest.mark.parametrize(
    ("name", "answer", "verdict"),
    [
        ("cruxeval-output", "assert f(4) == 5", "passed"),
        ("cruxeval-output", "5", "passed"),
        ("cruxeval-output", "assert f(4) == 2 + 3", "passed"),
        ("cruxeval-output", "assert f(4) == 5.0", "passed"),
        ("cruxeval-output", "assert f(4) == 6", "wrong_answer"),
        ("cruxeval-output", "assert f(4) == '5'", "wrong_answer"),
        ("cruxeval-output", "assert f(4) == f(4)", "runtime_error"),
        ("cruxeval-output", "assert f(4) ==", "runtime_error"),
        ("cruxeval-output", "", "runtime_error"),
        ("cruxeval-output", "type('A', (), {'__eq__': lambda *a: True})()", "wrong_answer"),
        ("cruxeval-output", "__import__('os')._exit(0)", "runtime_error"),
        ("cruxeval-output", "(" * 9999, "runtime_error"),
        ("cruxeval-input", "assert f(4) == 5", "passed"),
        ("cruxeval-input", "def f(x):\n    return 5\nassert f(3) == 5", "wrong_answer"),
        ("cruxeval-input", "f(4)", "passed"),
        ("cruxeval-input", "assert f(*[4]) == 5", "passed"),
        ("cruxeval-input", "assert f(3) == 5", "wrong_answer"),
        ("cruxeval-input", "assert 5 == 5", "runtime_error"),
        ("cruxeval-input", "5", "runtime_error"),
        ("cruxeval-input", "assert f('a') == 5", "runtime_error"),
    ],
)  # fmt: skip
def test_cruxeval(name: BenchmarkName, answer: str, verdict: str, sandbox: Sandbox, tmp_path: Path) -> None:
    score = one_problem(name, tmp_path, CRUX_ROW).score(answer, sandbox)
    assert score.verdict == verdict, score


def test_a_truth_value_is_no_number_in_cruxeval_s_sets_and_keys_either(sandbox: Sandbox, tmp_path: Path) -> None:
    problem = one_problem("cruxeval-output", tmp_path, CRUX_ROW | {"output": "{(1, (0,)): {1}}"})
    for answer, verdict in {
        "{(1.0, (0,)): {1}}": "passed",
        "{(True, (0,)): {1}}": "wrong_answer",
        "{(1, (False,)): {1}}": "wrong_answer",
        "{(1, (0,)): {True}}": "wrong_answer",
    }.items():
        assert problem.score(answer, sandbox).verdict == verdict, answer


def test_cruxeval_s_answer_is_the_last_block_or_assertion(tmp_path: Path) -> None:
    problem = one_problem("cruxeval-output", tmp_path, CRUX_ROW)
    assert "assert f(4) == ??" in problem.prompt.statement
    assert "5" not in problem.prompt.statement
    assert (
        problem.answer_in("```python\nassert f(4) == 1\n```\nNo:\n```python\nassert f(4) == 5\n```", "instruct")
        == "assert f(4) == 5\n"
    )
    assert problem.answer_in("So\nassert f(4) == 5\n.", "instruct") == "assert f(4) == 5"
    assert problem.answer_in("I don't know", "instruct") is None
    assert problem.answer_in("assert f(4) == 5", "thinking") is None
    assert problem.answer_in("assert f(4) == 1</think>assert f(4) == 5", "thinking") == "assert f(4) == 5"
    assert "assert f(??) == 5" in one_problem("cruxeval-input", tmp_path, CRUX_ROW).prompt.statement


NUMBERS = {
    "42": 42, "042": 42, "-7": -7, "1,024": 1024, "42.0": 42, " 42 ": 42, "$42$": 42, "n = 42": 42, "42.": 42,
    r"\text{42}": 42, r"42^\circ": 42, r"42^{\circ}": 42, r"\frac{84}{2}": 42, r"\dfrac{84}{2}": 42, "84/2": 42,
    r"\mathbf{42}": 42, r"42\ \text{units}": 42, r"1{,}024": 1024, r"\left 42 \right": 42, "+42": 42,
    "42 or 43": None, "": None, "x": None, "4/0": None, "forty-two": None, r"\sqrt{1764}": None, "9" * 40: None,
    "1,02": None,
}  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_in_latex_and_plain(text: str) -> None:
    wanted = NUMBERS[text]
    assert number_in(text) == (None if wanted is None else Fraction(wanted))


@pytest.mark.parametrize("text", [text for text, number in NUMBERS.items() if number is not None and text != "42."])
def test_math_verify_reads_the_same_numbers(text: str) -> None:
    """Where that package is installed. A full stop after the number is all that it does not read."""
    math_verify = pytest.importorskip("math_verify")
    parsed = math_verify.parse(f"\\boxed{{{text}}}", parsing_timeout=None)
    assert math_verify.verify(math_verify.parse(str(NUMBERS[text])), parsed, timeout_seconds=None)


@pytest.mark.parametrize(
    ("text", "style", "answer", "verdict"),
    [
        (r"So \boxed{41}. No: \boxed{42}", "instruct", "42", "passed"),
        (r"\boxed{\frac{84}{2}}", "instruct", r"\frac{84}{2}", "passed"),
        (r"\boxed{42", "instruct", None, None),
        ("The answer is **42**.", "instruct", "42", "passed"),
        ("the final answer: 43", "instruct", "43", "wrong_answer"),
        ("It is 42", "instruct", None, None),
        (r"\boxed{42}", "thinking", None, None),
        (r"\boxed{1}</think>\boxed{42}", "thinking", "42", "passed"),
        (r"\boxed{" + "9" * 50_000 + "}", "instruct", None, None),
        (r"\boxed{" + "{" * 15_000 + "}" * 15_000 + "}", "instruct", None, None),
    ],
)  # fmt: skip
def test_aime(
    text: str, style: Style, answer: str | None, verdict: str | None, sandbox: Sandbox, tmp_path: Path
) -> None:
    problem = one_problem("aime-24", tmp_path, AIME_ROW)
    assert problem.answer_in(text, style) == answer
    if answer is not None:
        assert problem.score(answer, sandbox).verdict == verdict


@pytest.mark.parametrize("answer", ["1000", "-1", "4.5", "x", None])
def test_an_answer_that_aime_cannot_have_is_refused(answer: str | None, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "r.jsonl", [{**AIME_ROW, "answer": answer}])
    with pytest.raises(BenchmarkError, match=r"r\.jsonl line 1: `answer`"):
        load_benchmark("aime-25", str(path))


def test_aime_s_integers_may_be_numbers(sandbox: Sandbox, tmp_path: Path) -> None:
    assert one_problem("aime-25", tmp_path, {**AIME_ROW, "answer": 42}).score("042", sandbox).verdict == "passed"


@pytest.mark.parametrize(
    ("text", "style", "answer"),
    [
        ("Reason.\nAnswer: C", "instruct", "C"),
        ("Answer: A\nno,\n**Answer: (C)**", "instruct", "C"),
        ("The correct answer is C.", "instruct", "C"),
        (r"\boxed{C}", "instruct", "C"),
        (r"\boxed{\text{(C)}}", "instruct", "C"),
        ("C. 7 is a prime", "instruct", "C"),
        ("(C)", "instruct", "C"),
        ("A number is a prime if", "instruct", None),
        ("I can't tell.", "instruct", None),
        ("Answer: E", "instruct", None),
        ("Answer: C", "thinking", None),
        ("Answer: B</think>Answer: C", "thinking", "C"),
        (" C\n\nA question", "base", "C"),
        ("seven", "base", None),
        ("", "base", None),
        ("Answer:" + "\n" * 15_000 + "C", "instruct", "C"),
        ("(C)\nNo answer" + " " * 15_000, "instruct", "C"),
        ("Answer: " + "*" * 15_000 + "C", "instruct", "C"),
        ("answer is " * 1_500 + "\nC.", "instruct", "C"),
        ("\n" * 15_000 + "(" * 4_000, "instruct", None),
        (r"\boxed{" * 2_500, "instruct", None),
    ],
)  # fmt: skip
def test_mmlu(text: str, style: Style, answer: str | None, sandbox: Sandbox, tmp_path: Path) -> None:
    problem = one_problem("mmlu", tmp_path, MMLU_ROW)
    assert problem.answer_in(text, style) == answer
    if answer is not None:
        assert problem.score(answer, sandbox).verdict == "passed"
        assert problem.score("A", sandbox).verdict == "wrong_answer"


def test_mmlu_s_faults_are_named_and_its_ids_are_places(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "r.jsonl", [MMLU_ROW, {**MMLU_ROW, "answer": "C"}])
    assert list(problems_in("mmlu", path)) == ["abstract_algebra-1", "abstract_algebra-2"]
    for changes in ({"answer": 4}, {"choices": ["1", "2"]}, {"answer": "AB"}, {"answer": ""}):
        write_jsonl(path, [{**MMLU_ROW, **changes}])
        with pytest.raises(BenchmarkError, match=r"r\.jsonl line 1: "):
            load_benchmark("mmlu", str(path))


def test_every_benchmark_of_recipes_is_registered() -> None:
    from typing import get_args

    assert set(BENCHMARKS) == set(get_args(BenchmarkName))
