"""AIME: mathematics whose answers are the integers from 0 to 999."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from forklock.benchmarks.problem import Benchmark, BenchmarkError, Problem, id_of, text_of
from forklock.benchmarks.score import Score, VerdictName, cut
from forklock.code_blocks import Style, answer_of
from forklock.config import ColumnsConfig
from forklock.prompts import Prompt
from forklock.prompts.rows import Row
from forklock.prompts.sources import Source
from forklock.sandbox.pool import Sandbox

NUM_SCANNED = 20_000
"""Characters at the end of an answer in which its result is looked for."""

_PHRASE = re.compile(
    r"(?:answer|result)\b[^.\n]{0,40}?(?:is|=|:)[\s*$]*([-+]?\d[\d,]*(?:\.\d+)?)",
    re.IGNORECASE,
)
_WRAPPED = r"\\(?:text|mathrm|textbf|mathbf|mbox)\{([^{}]*)\}"
_DECORATION = re.compile(_WRAPPED + r"|\\(?:left|right|displaystyle)\b|\\[,;:! ]|\^?\{?\\circ\}?|[${}~*]")
_FRACTION = re.compile(r"\\[dt]?frac\{?(-?\d{1,30})\}?\{?(\d{1,30})\}?")
_NUMBER = re.compile(r"(?:[a-zA-Z]\w{0,3}=)?([-+]?\d{1,30}(?:\.\d{1,30})?)(?:/(\d{1,30}))?\.?(?:degrees?|units?)?")


@dataclass(frozen=True)
class AimeProblem(Problem):
    answer: int

    def answer_in(self, text: str, style: Style) -> str | None:
        """What the last \\boxed{} holds, else the number of the last "the answer is"."""
        if style == "thinking" and "</think>" not in text:
            return None
        scanned = answer_of(text)[-NUM_SCANNED:]
        boxed = last_boxed(scanned)
        if boxed is not None:
            return boxed
        phrases = _PHRASE.findall(scanned)
        return phrases[-1] if phrases else None

    def answer_of_completion(self, completion: str) -> str:
        return completion

    def score(self, answer: str, sandbox: Sandbox) -> Score:
        is_right = number_in(answer) == self.answer
        verdict = VerdictName.PASSED if is_right else VerdictName.WRONG_ANSWER
        if is_right:
            return Score(verdict, num_tests_run=1)
        return Score(verdict, failing_test=0, expected=str(self.answer), got=cut(answer), num_tests_run=1)


def last_boxed(text: str) -> str | None:
    """The content of the last \\boxed{...}, its braces balanced; of one that is never closed, nothing."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    start = text.index("{", start) + 1
    depth = 1
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[start:end].strip() or None
    return None


def number_in(text: str) -> Fraction | None:
    """The one number that the text is, in LaTeX or plain: `042`, `1,024`, `\\frac{84}{2}`, `n = 42`, `42^\\circ`."""
    written = _FRACTION.sub(r"\1/\2", text[:1_000])
    plain = _DECORATION.sub(lambda match: match[1] or "", written)
    plain = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", re.sub(r"\s+", "", plain))
    found = _NUMBER.fullmatch(plain)
    if found is None or (found[2] is not None and not int(found[2])):
        return None
    return Fraction(found[1]) / int(found[2] or 1)


def _make(row: Row) -> Problem:
    answer = number_in(id_of(row, "answer"))
    if answer is None or answer.denominator != 1 or not 0 <= answer <= 999:
        raise BenchmarkError(f"{row.place}: `answer` is {row.values.get('answer')!r}, not an integer from 0 to 999")
    request = "Reason step by step, and put your final answer within \\boxed{}."
    prompt = Prompt(id_of(row, "id"), f"{text_of(row, 'problem').strip()}\n\n{request}", form="question")
    return AimeProblem(prompt, row.place, None, int(answer))


def _benchmark(path: str, split: str) -> Benchmark:
    return Benchmark(
        source=Source(path, ColumnsConfig(statement="problem", id="id"), split=split),
        columns=("id", "problem", "answer"),
        make=_make,
        num_expected=30,
        runs_programs=False,
    )


AIME_24 = _benchmark("HuggingFaceH4/aime_2024", "train")
AIME_25 = _benchmark("math-ai/aime25", "test")
