"""From answers to verdicts, and from files of other people's samples to a table."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from benchmark_cases import AIME_ROW, HUMANEVAL_ROW, MBPP_ROW, livecodebench_row, problems_in, write_jsonl
from sandbox_cases import SHORT, open_sandbox

from forklock.benchmarks import Problem, Score, VerdictName
from forklock.commands import grading
from forklock.decoding import Decoding
from forklock.errors import ForklockError
from forklock.evaluate.foreign import ForeignSamplesError
from forklock.evaluate.grade_file import grade_file, options_from
from forklock.evaluate.grading import Answer, GradingError, Scores, grade
from forklock.evaluate.metrics import MetricsError, Point, compare, describe
from forklock.evaluate.scoring import ThreadScorer
from forklock.evaluate.table import UNSAFE, render
from forklock.evaluate.verdicts import Verdict, read_verdicts, verdicts_in, write_verdicts
from forklock.prompts import Prompt
from forklock.sampling import Sample, write_shard
from forklock.sandbox.pool import Sandbox
from forklock.tables import TableError

ADD = "a, b = map(int, input().split())\nprint(a + b)"


@dataclass(frozen=True)
class Scripted(Problem):
    """Scores by what the answer says, and counts how often it is asked."""

    asked: list[str] = field(default_factory=list)

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        self.asked.append(answer)
        return Score(VerdictName(answer.split()[0]), cause="a cause")


def scripted(name: str = "p") -> Scripted:
    return Scripted(Prompt(name, "?"), "here", "easy")


def test_equal_answers_are_scored_once_and_every_sample_has_a_verdict() -> None:
    problems = {"p": scripted("p"), "q": scripted("q")}
    codes = ["passed", "wrong_answer", None, "passed", "passed 2"]
    answers = [Answer(name, index, code, num_tokens=index) for name in problems for index, code in enumerate(codes)]
    scores: Scores = {}
    found = grade(answers, problems, ThreadScorer(Sandbox(SHORT, num_workers=3)), scores)
    verdicts = sorted(found, key=lambda verdict: verdict.key)
    assert [verdict.key for verdict in verdicts] == [(name, index) for name in "pq" for index in range(5)]
    wanted = ["passed", "wrong_answer", "no_code", "passed", "passed"]
    assert [verdict.verdict for verdict in verdicts] == wanted * 2
    assert [verdict.num_tokens for verdict in verdicts] == list(range(5)) * 2
    for problem in problems.values():
        assert sorted(problem.asked) == ["passed", "passed 2", "wrong_answer"]
    assert len({verdict.code_hash for verdict in verdicts}) == 4
    # Those of an earlier call count too.
    again = list(grade(answers[:5], problems, ThreadScorer(Sandbox(SHORT, num_workers=1)), scores))
    assert [verdict.verdict for verdict in again] == wanted
    assert len(problems["p"].asked) == 3


def test_a_fault_of_the_harness_stops_and_is_no_verdict() -> None:
    problems = {"p": scripted()}
    answers = [Answer("p", 0, "passed"), Answer("p", 1, "harness_error")]
    found = []
    with pytest.raises(GradingError, match=r"problem p, sample 1: the grader failed, and again .*: a cause"):
        found.extend(grade(answers, problems, ThreadScorer(Sandbox(SHORT, num_workers=1))))


def test_answers_are_read_as_workers_become_free() -> None:
    gate, read = threading.Event(), []

    @dataclass(frozen=True)
    class Waits(Problem):
        def score(self, answer: str, sandbox: Sandbox) -> Score:
            gate.wait()
            return Score(VerdictName.PASSED)

    def answers() -> Iterator[Answer]:
        for index in range(100):
            read.append(index)
            if index == 8:  # eight wait for two workers: this one is taken after the first of them has come back
                gate.set()
            yield Answer("p", index, str(index))

    grading = grade(
        answers(), {"p": Waits(Prompt("p", "?"), "here", None)}, ThreadScorer(Sandbox(SHORT, num_workers=2))
    )
    next(grading)
    assert read == list(range(9))
    assert len(list(grading)) == 99


def verdict(problem: str = "p", index: int = 0, name: str = "passed", **changes: Any) -> Verdict:
    fields: dict[str, Any] = {
        "difficulty": "easy", "failing_test": None, "expected": "", "got": "", "cause": "", "num_tests_run": 1,
        "num_tests_passed": None,
        "cpu_s": 0.5, "peak_memory_bytes": 9, "is_isolated": True, "code_hash": "h", "num_code_blocks": 1,
        "num_tokens": 10, "finish_reason": "stop",
    }  # fmt: skip
    return Verdict(problem, index, VerdictName(name), **{**fields, **changes})


def test_verdicts_survive_their_file(tmp_path: Path) -> None:
    verdicts = [
        verdict(),
        verdict("q", 3, "timeout", difficulty=None, failing_test=2, num_tokens=None, finish_reason="", got="\ufffd\n"),
    ]
    write_verdicts(tmp_path / "verdicts-00000.parquet", verdicts)
    assert list(verdicts_in(tmp_path)) == verdicts
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "verdicts-00000.parquet").read_bytes()[:-9])
    with pytest.raises(TableError, match="cannot be read as verdicts"):
        list(read_verdicts(tmp_path / "cut.parquet"))


def test_what_is_said_about_a_point() -> None:
    verdicts = [
        verdict("a", 0, code_hash="x", num_tokens=10),
        verdict("a", 1, code_hash="y", num_tokens=20),
        verdict("b", 0, "wrong_answer", difficulty="hard", finish_reason="length", num_tokens=50),
        verdict("b", 1, "no_code", difficulty="hard", num_code_blocks=0, num_tokens=0),
    ]
    found = describe(Point.of("x", verdicts), (1, 2, 3))
    groups = found["pass_at_k"]
    assert [(name, group["num_problems"], group["pass@1"]["mean"]) for name, group in groups.items()] == [
        ("all", 2, 0.5),
        ("easy", 1, 1.0),
        ("hard", 1, 0.0),
    ]
    assert groups["all"]["pass@3"] is None
    assert found["verdicts"] == {"passed": 2, "wrong_answer": 1, "no_code": 1}
    assert (found["share_without_code"], found["share_at_limit"]) == (0.25, 0.25)
    assert (found["mean_distinct_passing_programs"], found["mean_code_blocks"]) == (1.0, 0.75)
    assert (found["mean_tokens"], found["mean_tokens_of_passed"]) == (20.0, 15.0)


def test_points_are_compared_over_the_same_problems_only() -> None:
    first = Point.of("x", [verdict(name, 0, "wrong_answer") for name in "abc"])
    second = Point.of("y", [verdict(name, 0) for name in "cab"])
    found = compare(first, second, (1, 2))
    assert found["all"]["pass@1"]["mean"] == 1.0
    assert found["all"]["pass@1"]["p_value"] == 0.25
    assert found["all"]["pass@2"] is None
    with pytest.raises(MetricsError, match="not the same problems"):
        compare(first, Point.of("z", [verdict("a"), verdict("b"), verdict("d")]), (1,))
    with pytest.raises(ForklockError, match="problem a has 1 samples and problem b has 2"):
        Point.of("x", [verdict("a"), verdict("b"), verdict("b", 1)])


ENTRY = '{"question_id": "a", "code_list": ["x"]}'
OTHER_ENTRY = '{"question_id": "c", "code_list": ["x"]}'


# forklock grade


@pytest.fixture
def humaneval_file(tmp_path: Path) -> Path:
    other = {**HUMANEVAL_ROW, "task_id": "HumanEval/1"}
    return write_jsonl(tmp_path / "HumanEval.jsonl", [HUMANEVAL_ROW, other])


@pytest.fixture
def livecodebench_file(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "test6.jsonl", [livecodebench_row("a"), livecodebench_row("b", difficulty="hard")])


def graded(samples: Path, data: Path, benchmark: str, **options: Any) -> dict[str, Any]:
    with open_sandbox():
        pass
    report = grade_file(samples, samples.parent / "out", options_from(benchmark=benchmark, data=str(data), **options))
    found: dict[str, Any] = report["benchmarks"][benchmark]
    return found


def test_evalplus_lines_with_solutions_and_completions(humaneval_file: Path, tmp_path: Path) -> None:
    rows = [
        {"task_id": "HumanEval/0", "solution": "def total(xs): return sum(xs)"},
        {"task_id": "HumanEval/1", "completion": "    return 1\n"},
        {"task_id": "HumanEval/0", "completion": "    return sum(xs)\n"},
        {"task_id": "HumanEval/1", "solution": "  "},
    ]
    found = graded(write_jsonl(tmp_path / "samples.jsonl", rows), humaneval_file, "humaneval", pass_k=(1, 2))
    assert found["points"][0]["verdicts"] == {"passed": 2, "wrong_answer": 1, "no_code": 1}
    assert found["points"][0]["pass_at_k"]["all"]["pass@2"]["mean"] == 0.5
    assert found["notes"] == ["humaneval: 2 problems, 164 were expected"]
    verdicts = {verdict.key: verdict.verdict for verdict in verdicts_in(tmp_path / "out" / "grade")}
    assert verdicts == {
        ("HumanEval/0", 0): "passed",
        ("HumanEval/1", 0): "wrong_answer",
        ("HumanEval/0", 1): "passed",
        ("HumanEval/1", 1): "no_code",
    }


def test_evalplus_s_names_of_mbpp_s_tasks(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "mbpp.jsonl", [MBPP_ROW])
    rows = [{"task_id": name, "solution": MBPP_ROW["code"]} for name in ("Mbpp/11", "11", 11)]
    found = graded(write_jsonl(tmp_path / "samples.jsonl", rows), data, "mbpp")
    assert found["points"][0]["verdicts"] == {"passed": 3}
    assert [verdict.key for verdict in verdicts_in(tmp_path / "out" / "grade")] == [("11", 0), ("11", 1), ("11", 2)]
    write_jsonl(tmp_path / "samples.jsonl", [{"task_id": "Mbpp/12", "solution": ""}])
    with pytest.raises(ForeignSamplesError, match=r"line 1: there is no problem 'Mbpp/12'"):
        grade_file(tmp_path / "samples.jsonl", tmp_path / "o", options_from(benchmark="mbpp", data=str(data)))


def test_livecodebench_s_custom_outputs(livecodebench_file: Path, tmp_path: Path) -> None:
    entries = [{"question_id": "b", "code_list": ["print(3)", ""]}, {"question_id": "a", "code_list": [ADD, "1/0"]}]
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(entries, indent=1))
    found = graded(path, livecodebench_file, "livecodebench-v6")
    assert found["points"][0]["verdicts"] == {"passed": 2, "runtime_error": 1, "no_code": 1}
    assert set(found["points"][0]["pass_at_k"]) == {"all", "easy", "hard"}


def test_custom_outputs_without_ids_are_in_the_order_of_the_ids(livecodebench_file: Path, tmp_path: Path) -> None:
    livecodebench_file.write_text("".join(reversed(livecodebench_file.read_text().splitlines(keepends=True))))
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([[ADD, ""], ["1/0", "print(1)"]]))
    graded(path, livecodebench_file, "livecodebench-v6")
    verdicts = {verdict.key: verdict.verdict for verdict in verdicts_in(tmp_path / "out" / "grade")}
    wanted = {("a", 0): "passed", ("a", 1): "no_code", ("b", 0): "runtime_error", ("b", 1): "wrong_answer"}
    assert verdicts == wanted


@pytest.mark.parametrize("all_tests", [False, True])
def test_all_tests_are_run_and_counted_only_when_asked(
    all_tests: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is the same either way: that of the first test that fails."""
    from rich.console import Console

    tests = [("1 2\n", "3\n"), ("0 4\n", "4\n"), ("5 6\n", "11\n"), ("0 1\n", "1\n")]
    data = write_jsonl(tmp_path / "test6.jsonl", [livecodebench_row("a", tests)])
    some = "a, b = map(int, input().split())\nprint(a + b) if a else exit('no')"
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"question_id": "a", "code_list": [ADD, some, "print(1)", "if", ""]}]))
    ran: list[bytes] = []
    run = Sandbox._run
    monkeypatch.setattr(Sandbox, "_run", lambda self, job, stdin: (ran.append(job.source), run(self, job, stdin))[1])
    with open_sandbox():
        pass
    options = options_from(benchmark="livecodebench-v6", data=str(data), all_tests=all_tests)
    report = grade_file(path, tmp_path / "out", options)
    found = {verdict.sample_index: verdict for verdict in verdicts_in(tmp_path / "out" / "grade")}
    wanted = ["passed", "runtime_error", "wrong_answer", "compile_error", "no_code"]
    assert [found[index].verdict for index in range(5)] == wanted
    assert [found[index].failing_test for index in range(5)] == [None, 1, 0, 0, None]
    num_run = [4, 4, 4, 4, 0] if all_tests else [4, 2, 1, 1, 0]
    assert [found[index].num_tests_run for index in range(5)] == num_run
    assert [ran.count(source.encode()) for source in (ADD, some, "print(1)", "if")] == num_run[:4]
    num_passed = [4, 2, 1, 0, None] if all_tests else [None] * 5
    assert [found[index].num_tests_passed for index in range(5)] == num_passed
    [point] = report["benchmarks"]["livecodebench-v6"]["points"]
    assert point["mean_share_of_tests_passed"] == (0.35 if all_tests else None)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(report))
    assert "1 problem x 5 samples;" in console.export_text(clear=False)
    assert ("tests passed 35.0%" in console.export_text()) is all_tests


def test_tests_that_cannot_run_one_by_one_are_said_to_be_so(humaneval_file: Path, tmp_path: Path) -> None:
    rows = [{"task_id": f"HumanEval/{task}", "solution": "def total(xs): return 3"} for task in range(2)]
    found = graded(write_jsonl(tmp_path / "samples.jsonl", rows), humaneval_file, "humaneval", all_tests=True)
    assert found["notes"][-1].startswith("humaneval: its tests cannot run one by one")
    assert found["points"][0]["mean_share_of_tests_passed"] is None


def sample(problem: str, index: int, text: str) -> Sample:
    return Sample(problem, index, (1,), (2, 3), text, "stop", 7, Decoding(0.7), "fake 1", "digest")


def test_our_own_samples(livecodebench_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    texts = [f"First\n```python\nprint(1)\n```\nthen\n```python\n{ADD}\n```\n", "no code"]
    write_shard(path, [sample("a", index, text) for index, text in enumerate(texts)])
    found = graded(path, livecodebench_file, "livecodebench-v6")
    point = found["points"][0]
    assert (point["verdicts"], point["mean_tokens"], point["mean_code_blocks"]) == (
        {"passed": 1, "no_code": 1},
        2.0,
        1.0,
    )
    assert found["notes"][-1] == "1 of 2 problems have samples; the others are not counted"


def test_of_a_stage_s_folder_only_the_samples_are_read(livecodebench_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "point"
    folder.mkdir()
    write_verdicts(folder / "verdicts-00000.parquet", [verdict()])
    with pytest.raises(ForeignSamplesError, match=r"point: a folder without samples-\*\.parquet"):
        graded(folder, livecodebench_file, "livecodebench-v6")
    for index, text in enumerate([f"```python\n{ADD}\n```", "no code"]):
        write_shard(folder / f"samples-{index:05d}.parquet", [sample("a", index, text)])
    found = graded(folder, livecodebench_file, "livecodebench-v6")
    assert found["points"][0]["verdicts"] == {"passed": 1, "no_code": 1}


def test_files_that_differ_by_their_format_have_folders_of_their_own(
    humaneval_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second result does not displace the first."""
    monkeypatch.chdir(tmp_path)
    line = {"task_id": "HumanEval/0", "solution": "x = 1"}
    write_jsonl(tmp_path / "s.jsonl", [line])
    (tmp_path / "s.json").write_text(json.dumps([{"question_id": "HumanEval/0", "code_list": ["x = 2"]}]))
    for name in ("s.jsonl", "s.json"):
        grading.grade(Path(name), "humaneval", data=str(humaneval_file), pass_k="1")
    found = {path.name: len(list((path / "grade").glob("verdicts-*"))) for path in (tmp_path / "runs").iterdir()}
    assert found == {"grade-s.jsonl-humaneval": 1, "grade-s.json-humaneval": 1}


def test_a_benchmark_without_programs_opens_no_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "__enter__", None)
    data = write_jsonl(tmp_path / "aime.jsonl", [AIME_ROW])
    path = tmp_path / "samples.parquet"
    write_shard(path, [sample("60", 0, r"so \boxed{42}"), sample("60", 1, r"so \boxed{43}")])
    options = options_from(benchmark="aime-24", data=str(data))
    report = grade_file(path, tmp_path / "out", options)
    assert report["benchmarks"]["aime-24"]["points"][0]["verdicts"] == {"passed": 1, "wrong_answer": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"task_id": "HumanEval/0", "solution": "x"}', "{"], " line 2: is not JSON"),
        (['{"task_id": "HumanEval/0"}'], " line 1: neither `solution` nor `completion` holds text"),
        (['{"task_id": "HumanEval/0", "solution": 3}'], " line 1: neither `solution` nor `completion` holds text"),
        (['{"solution": "x"}'], " line 1: `task_id` is missing"),
        (['{"task_id": "HumanEval/0", "task_id": "HumanEval/1", "solution": "x"}'], " line 1: has `task_id` twice"),
        (["", '{"task_id": "HumanEval/9", "solution": "x"}'], " line 2: there is no problem 'HumanEval/9'"),
        (["[]"], " line 1: is a JSON list, not an object"),
        ([], ": holds no samples"),
        (
            [f'{{"task_id": "HumanEval/{task}", "solution": "x"}}' for task in (0, 0, 1)],
            ": 1 samples of HumanEval/1, 2 of HumanEval/0",
        ),
    ],
)
def test_faults_of_evalplus_lines_are_named_before_anything_is_graded(
    lines: list[str], message: str, humaneval_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "__enter__", None)
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(ForeignSamplesError) as caught:
        grade_file(path, tmp_path / "out", options_from(benchmark="humaneval", data=str(humaneval_file)))
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_compressed_file_of_samples_that_was_cut_short_is_named(humaneval_file: Path, tmp_path: Path) -> None:
    rows = [{"task_id": "HumanEval/0", "solution": f"x = {number}"} for number in range(9)]
    path = write_jsonl(tmp_path / "samples.jsonl.gz", rows)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ForeignSamplesError, match=r"samples\.jsonl\.gz line \d+: cannot be read: .*; make it again$"):
        grade_file(path, tmp_path / "out", options_from(benchmark="humaneval", data=str(humaneval_file)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[\n{ENTRY},\n{ENTRY}\n]", " line 3: question a is in"),
        (f"[{ENTRY},\n\n {OTHER_ENTRY}]", " line 3: there is no problem 'c'"),
        ('[\n{"question_id": "a", "code_list": []}]', " line 2: `code_list` of question a is not a list of programs"),
        ('[\n\n{"question_id": "a", "code_list": [null]}]', " line 3: `code_list` of question a is not"),
        ('[{"code_list": ["x"]}]', " line 1: `question_id` is missing"),
        (f'[{ENTRY},\n{{"question_id": "c", "question_id": "b"}}]', " line 2: has `question_id` twice"),
        ('[{"question_id": "a", "code_list": ["x"]}', ": is not JSON"),
        ('{"question_id": "a"}', ": is a JSON dict, not a list"),
        ("[]", ": holds no samples"),
        ('[["x"]]', ": 1 lists of programs without `question_id`, for 2 problems: "),
        ('[["x"],\n["x", 3]]', " line 2: `code_list` of question b is not a list of programs"),
        (f'[{ENTRY},\n["x"]]', " line 2: `question_id` is missing"),
    ],
)  # fmt: skip
def test_faults_of_custom_outputs_are_named(text: str, message: str, livecodebench_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(text)
    with pytest.raises(ForeignSamplesError) as caught:
        grade_file(path, tmp_path / "out", options_from(benchmark="livecodebench-v6", data=str(livecodebench_file)))
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_sample_twice_and_other_formats_are_named(livecodebench_file: Path, tmp_path: Path) -> None:
    options = options_from(benchmark="livecodebench-v6", data=str(livecodebench_file))
    write_shard(tmp_path / "s.parquet", [sample("a", 0, "x"), sample("a", 0, "y")])
    with pytest.raises(ForeignSamplesError, match=r"s\.parquet row 2: sample 0 of a is in .* row 1 already"):
        grade_file(tmp_path / "s.parquet", tmp_path / "out", options)
    write_verdicts(tmp_path / "v.parquet", [verdict()])
    with pytest.raises(TableError, match="does not hold samples that forklock wrote"):
        grade_file(tmp_path / "v.parquet", tmp_path / "out", options)
    (tmp_path / "s.txt").write_text("x")
    with pytest.raises(ForeignSamplesError, match=r"must end in \.json"):
        grade_file(tmp_path / "s.txt", tmp_path / "out", options)
    with pytest.raises(ForeignSamplesError, match="no such file"):
        grade_file(tmp_path / "none.json", tmp_path / "out", options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmark": "humanevl"}, "--benchmark: .*'humanevl'"),
        ({"benchmark": "mbpp", "style": "chat"}, "--style: "),
        ({"benchmark": "mbpp", "pass_k": ("0",)}, "--pass-k: "),
        ({"benchmark": "mbpp", "pass_k": ()}, "--pass-k: "),
    ],
)
def test_options_that_mean_nothing_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ForklockError, match=message):
        options_from(**options)


def test_the_mark_of_unsafe_execution_is_in_rows_report_and_table(
    livecodebench_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where namespaces can't be entered, which a sandbox is made to believe here."""
    from rich.console import Console

    from forklock.sandbox.worker import SandboxUnavailableError

    entries = [{"question_id": name, "code_list": [ADD]} for name in "ab"]
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(entries))
    monkeypatch.setattr(Sandbox, "missing", ("user namespace",), raising=False)
    enter = Sandbox.__enter__

    def entered(self: Sandbox) -> Sandbox:
        opened = enter(self)
        if not opened._is_unsafe:
            opened.__exit__(None, None, None)
            raise SandboxUnavailableError("no user namespace")
        opened.missing = ("user namespace",)
        return opened

    monkeypatch.setattr(Sandbox, "__enter__", entered)
    data = {"benchmark": "livecodebench-v6", "data": str(livecodebench_file)}
    with pytest.raises(SandboxUnavailableError):
        grade_file(path, tmp_path / "out", options_from(**data))
    report = grade_file(path, tmp_path / "out", options_from(**data, unsafe_execution=True))
    assert report["benchmarks"]["livecodebench-v6"]["is_isolated"] is False
    assert [verdict.is_isolated for verdict in verdicts_in(tmp_path / "out" / "grade")] == [False, False]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(report))
    assert UNSAFE in console.export_text()
    # The mark stays when the same folder is asked again by someone who has a sandbox.
    again = grade_file(path, tmp_path / "out", options_from(**data))
    assert again["benchmarks"]["livecodebench-v6"]["is_isolated"] is False


def test_a_killed_grading_goes_on(humaneval_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts in shards are kept; only what is missing is graded."""
    with open_sandbox():
        pass
    rows = [
        {"task_id": f"HumanEval/{task}", "solution": f"def total(xs): return sum(xs) + {number}"}
        for number in range(6)
        for task in range(2)
    ]
    path = write_jsonl(tmp_path / "samples.jsonl", rows)
    options = options_from(benchmark="humaneval", data=str(humaneval_file), workers=1)
    monkeypatch.setattr("forklock.evaluate.verdicts.VERDICTS_PER_SHARD", 2)
    [problem, *_] = problems_in("humaneval", humaneval_file).values()
    score, asked = type(problem).score, []

    def stops(self: Any, answer: str, sandbox: Sandbox) -> Score:
        asked.append((self.problem_id, answer))
        if len(asked) == 8:
            raise KeyboardInterrupt
        return score(self, answer, sandbox)

    monkeypatch.setattr(type(problem), "score", stops)
    with pytest.raises(KeyboardInterrupt):
        grade_file(path, tmp_path / "out", options)
    kept = {verdict.key for verdict in verdicts_in(tmp_path / "out" / "grade")}
    assert len(kept) >= 6
    num_asked = len(asked)
    report = grade_file(path, tmp_path / "out", options)
    keys = [verdict.key for verdict in verdicts_in(tmp_path / "out" / "grade")]
    assert len(keys) == len(set(keys)) == 12
    assert len(asked) - num_asked == 12 - len(kept)
    assert report["benchmarks"]["humaneval"]["points"][0]["verdicts"] == {"passed": 2, "wrong_answer": 10}
