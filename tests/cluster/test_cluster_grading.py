"""Answers scored on several nodes, against one process: the same verdicts, whatever becomes of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from benchmark_cases import livecodebench_row, problems_in, write_jsonl
from losses import lose_this_node
from raylets import Raylets

from forklock.benchmarks import Problem, Score
from forklock.evaluate.grading import Answer, grade
from forklock.evaluate.scoring import Scorer, ThreadScorer
from forklock.evaluate.verdicts import Verdict
from forklock.sandbox.pool import Sandbox

PROGRAMS = (
    "a, b = map(int, input().split())\nprint(a + b)",
    "print(3)",
    "while",
    "raise SystemExit(4)",
    *(f"print({number})" for number in range(20, 28)),
)
FATAL = PROGRAMS[5]


@dataclass(frozen=True)
class Fatal(Problem):
    """Scores as another does, but one answer takes its node with it, once."""

    inner: Problem
    marker: Path

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        if answer == FATAL:
            lose_this_node(self.marker)
        return self.inner.score(answer, sandbox)


def grades(scorer: Scorer, problems: Sequence[Problem]) -> dict[tuple[str, int], Verdict]:
    answers = [
        Answer(problem.problem_id, index, code) for problem in problems for index, code in enumerate([*PROGRAMS, None])
    ]
    verdicts = list(grade(answers, {problem.problem_id: problem for problem in problems}, scorer))
    assert len(verdicts) == len(answers)
    return {verdict.key: replace(verdict, cpu_s=0.0, peak_memory_bytes=0) for verdict in verdicts}


@pytest.mark.slow
def test_a_node_lost_while_it_scores_changes_no_verdict(cluster: Raylets, tmp_path: Path) -> None:
    import ray

    from forklock.cluster.grading import ClusterScorer

    rows = [livecodebench_row(name, [("1 2\n", "3\n"), ("3 4\n", "7\n")]) for name in ("one", "two")]
    write_jsonl(tmp_path / "test6.jsonl", rows)
    problems = list(problems_in("livecodebench-v6", tmp_path / "test6.jsonl").values())
    with Sandbox(num_workers=2) as sandbox:
        alone = grades(ThreadScorer(sandbox), problems)

    marker = tmp_path / "lost"
    ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
    fatal = [Fatal(problem.prompt, problem.place, problem.difficulty, problem, marker) for problem in problems]
    assert grades(ClusterScorer(allow_unsafe=False), fatal) == alone
    assert cluster.count_lost() == 1
