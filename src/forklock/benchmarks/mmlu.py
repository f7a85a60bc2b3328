"""MMLU: questions with four choices, answered by a letter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forklock.benchmarks.aime import last_boxed
from forklock.benchmarks.problem import Benchmark, BenchmarkError, Problem, text_of, texts_of
from forklock.benchmarks.score import Score, VerdictName, cut
from forklock.code_blocks import Style, answer_of
from forklock.config import ColumnsConfig
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import Source
from forklock.sandbox.pool import Sandbox

LETTERS = "ABCD"
NUM_SCANNED = 20_000

_LETTER = r"\(?\**\(?([A-D])\b"
_PATTERNS = (
    re.compile(rf"(?:answer|choice|option)\b(?:\s+is)?\s*[:=]?\s*\**\s*(?:option\s+)?{_LETTER}", re.IGNORECASE),
    re.compile(rf"^\s*\**{_LETTER}(?:[.):]|\s*$)", re.MULTILINE),
)


@dataclass(frozen=True)
class MmluProblem(Problem):
    answer: str

    def answer_in(self, text: str, style: Style) -> str | None:
        if style == "base":
            return next((letter for letter in LETTERS if text.lstrip().startswith(letter)), None)
        if style == "thinking" and "</think>" not in text:
            return None
        return letter_in(answer_of(text)[-NUM_SCANNED:])

    def answer_of_completion(self, completion: str) -> str:
        return completion

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        if answer.strip() == self.answer:
            return Score(VerdictName.PASSED, num_tests_run=1)
        return Score(VerdictName.WRONG_ANSWER, 0, expected=self.answer, got=cut(answer), num_tests_run=1)


def letter_in(text: str) -> str | None:
    """The letter in the last \\boxed{}, else after the last "answer", else the last line that is a choice."""
    text = _without_runs(text)
    boxed = last_boxed(text)
    if boxed is not None and (found := re.fullmatch(r"(?:\\text\{)?\(?([A-D])\)?\.?\}?", boxed)):
        return found[1]
    for pattern in _PATTERNS:
        if letters := pattern.findall(text):
            return str(letters[-1]).upper()
    return None


def _without_runs(text: str) -> str:
    """No blank lines, one space for many, no more than two stars: on runs without end, such as a model writes that does
    not stop, the patterns would take time that grows with their cube."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\*{3,}", "**", "\n".join(line for line in lines if line))


def _make(row: Row) -> Problem:
    choices, answer = texts_of(row, "choices"), row.values.get("answer")
    if len(choices) != len(LETTERS):
        raise BenchmarkError(f"{row.place}: `choices` has {len(choices)} choices, not {len(LETTERS)}")
    letter = LETTERS[answer] if isinstance(answer, int) and 0 <= answer < len(LETTERS) else answer
    if not isinstance(letter, str) or letter not in tuple(LETTERS):
        raise BenchmarkError(f"{row.place}: `answer` is {answer!r}, neither a number from 0 to 3 nor a letter")
    subject = text_of(row, "subject")
    lines = [f"{name}. {choice}" for name, choice in zip(LETTERS, choices, strict=True)]
    about = f"A question about {subject.replace('_', ' ')}."
    request = 'Reason as much as you need, then end with a line "Answer: X", where X is A, B, C or D.'
    statement = "\n".join([about, "", text_of(row, "question").strip(), "", *lines, "", request])
    identifier = f"{subject}-{row.position.rpartition(' ')[2]}"
    return MmluProblem(Prompt(identifier, statement, form="question"), row.place, None, letter)


MMLU = Benchmark(
    source=Source("cais/mmlu", ColumnsConfig(), subset="all", split="test"),
    columns=("question", "subject", "choices", "answer"),
    make=_make,
    num_expected=14_042,
    runs_programs=False,
)
