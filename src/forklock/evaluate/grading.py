"""Answers to verdicts: each distinct answer of a problem is scored once, several at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, fields

from forklock.benchmarks import Problem, Score, VerdictName
from forklock.errors import ForklockError
from forklock.evaluate.scoring import Scorer
from forklock.evaluate.verdicts import Verdict, VerdictWriter, verdicts_in
from forklock.progress import progress_bar
from forklock.run_dir import StageDir

WAITING_PER_WORKER = 4
"""Answers handed out ahead of the workers."""


class GradingError(ForklockError):
    """The harness failed, twice on the same answer: nothing more is graded, and that answer has no verdict."""


@dataclass(frozen=True)
class Answer:
    """One sample, as far as grading needs it."""

    problem_id: str
    sample_index: int
    code: str | None
    """What is scored; None where the sample holds no answer."""
    num_code_blocks: int = 1
    num_tokens: int | None = None
    finish_reason: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return self.problem_id, self.sample_index


Scores = dict[tuple[str, str], Score]
"""Of a benchmark's answers, by problem and the code's hash."""


def grade(
    answers: Iterable[Answer], problems: Mapping[str, Problem], scorer: Scorer, scores: Scores | None = None
) -> Iterator[Verdict]:
    """A verdict for each answer, as they are reached. Answers are read as workers become free, not all at once.

    The same answer to the same problem is scored once, and all who gave it share the score; `scores` holds those of
    calls before this one, and takes up the new ones.
    """
    with scorer:
        grader = _Grader(problems, scorer, {} if scores is None else scores)
        for answer in answers:
            yield from grader.take(answer)
        yield from grader.finish()


@dataclass(frozen=True)
class Grading:
    """What `grade_into` grades, and with what."""

    title: str
    problems: Mapping[str, Problem]
    scorer: Scorer
    num_answers: int
    scores: Scores = field(default_factory=dict)
    """Points of one benchmark share theirs: under the same seeds, decodings that differ a little often draw the same
    program."""


def grade_into(stage_dir: StageDir, answers: Iterable[Answer], grading: Grading) -> None:
    """Leave the stage's shards with a verdict for every answer. What a killed call graded is kept, not graded again."""
    known = list(verdicts_in(stage_dir.path))
    done = {verdict.key for verdict in known}
    grading.scores.update(_scores_in(known))
    num_missing = grading.num_answers - len(done)
    if not num_missing:
        return
    missing = (answer for answer in answers if answer.key not in done)
    start, num_passed, writer = time.monotonic(), 0, VerdictWriter(stage_dir)
    with progress_bar(f"grade {grading.title}", grading.num_answers, len(done)) as advance:
        try:
            for verdict in grade(missing, grading.problems, grading.scorer, grading.scores):
                writer.add(verdict)
                num_passed += verdict.passed
                advance(1, f"{num_passed:,} passed")
        finally:
            writer.flush()  # also on Ctrl-C: what is graded is kept
    seconds = time.monotonic() - start
    stage_dir.note("graded", num_samples=num_missing, num_passed=num_passed, samples_per_s=num_missing / seconds)


class _Grader:
    def __init__(self, problems: Mapping[str, Problem], scorer: Scorer, scores: Scores) -> None:
        self._problems = problems
        self._scorer = scorer
        self._scores = scores
        self._running: dict[Future[Score], tuple[str, str]] = {}
        self._waiting: dict[tuple[str, str], list[Answer]] = {}
        """Who gave an answer that is being scored."""

    def take(self, answer: Answer) -> Iterator[Verdict]:
        problem = self._problems[answer.problem_id]
        key = (answer.problem_id, code_hash(answer.code))
        if answer.code is None:
            yield _verdict(answer, problem, Score(VerdictName.NO_CODE))
        elif (score := self._scores.get(key)) is not None:
            yield _verdict(answer, problem, score)
        elif key in self._waiting:
            self._waiting[key].append(answer)
        else:
            while len(self._running) >= WAITING_PER_WORKER * self._scorer.num_workers:
                yield from self._collect()
            self._waiting[key] = [answer]
            self._running[self._scorer.submit(problem, answer.code)] = key

    def finish(self) -> Iterator[Verdict]:
        while self._running:
            yield from self._collect()

    def _collect(self) -> Iterator[Verdict]:
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        for future in done:
            key = self._running.pop(future)
            score, givers = future.result(), self._waiting.pop(key)
            if score.verdict is VerdictName.HARNESS_ERROR:
                name = f"problem {givers[0].problem_id}, sample {givers[0].sample_index}"
                raise GradingError(f"{name}: the grader failed, and again when it was retried: {score.cause}")
            self._scores[key] = score
            for answer in givers:
                yield _verdict(answer, self._problems[answer.problem_id], score)


def _scores_in(known: Iterable[Verdict]) -> Scores:
    of_score = [each.name for each in fields(Score)]
    return {
        (verdict.problem_id, verdict.code_hash): Score(**{name: getattr(verdict, name) for name in of_score})
        for verdict in known
        if verdict.code_hash
    }


def code_hash(code: str | None) -> str:
    return "" if code is None else hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()


def _verdict(answer: Answer, problem: Problem, score: Score) -> Verdict:
    return Verdict(
        problem_id=answer.problem_id,
        sample_index=answer.sample_index,
        verdict=score.verdict,
        difficulty=problem.difficulty,
        failing_test=score.failing_test,
        expected=score.expected,
        got=score.got,
        cause=score.cause,
        num_tests_run=score.num_tests_run,
        num_tests_passed=score.num_tests_passed,
        cpu_s=score.cpu_s,
        peak_memory_bytes=score.peak_memory_bytes,
        is_isolated=score.is_isolated,
        code_hash=code_hash(answer.code),
        num_code_blocks=answer.num_code_blocks,
        num_tokens=answer.num_tokens,
        finish_reason=answer.finish_reason,
    )
