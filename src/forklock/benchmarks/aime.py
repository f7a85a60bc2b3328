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

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:(\{)|(-?\d+))")
_FRACTION = re.compile(r"\\[dt]?frac(?:\{\s*(-?\d{1,30})\s*\}|(\d))(?:\{\s*(-?\d{1,30})\s*\}|(\d)(?!\d))")
_PHRASE = re.compile(
    r"(?:answer|result)\b[^.\n]{0,40}?(?:is|=|:)(?:[\s*$]|\\[(\[]|\\text(?:bf)?\{|\\math(?:bf|rm)\{)*"
    r"(\\[dt]?frac\{-?\d{1,30}\}\{-?\d{1,30}\}|[-+−]?\d[\d,]*(?:\.\d+)?)(?![\d/^]|\.\d)",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox|textrm)\{([^{}]*)\}")
_WORDS = "\0"
"""Stands for wrapped words: a unit or a caption, and allowed only before and after a number."""
_MULTIPLES = re.compile(r"hundred|thousand|million|billion|\bnot\b", re.IGNORECASE)
_DECORATION = re.compile(r"\\(?:left|right|displaystyle|boxed|fbox)\b|\\[,;:!%$]|\^?\{?\\circ\}?|[°%${}~*]")
_NUMBER = re.compile(
    rf"{_WORDS}?(?:[^=<>!,;:{_WORDS}]{{1,60}}=)?"
    r"([-+]?\d{1,30}(?:\.\d{0,30})?)(?:/(-?\d{1,30}))?"
    rf"\.?(?:degrees?|units?|{_WORDS})?\.?"
)


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
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    found = boxes[-1]
    if found[2]:
        return found[2]
    start, depth = found.end(), 1
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[start:end].strip() or None
    return None


def number_in(text: str) -> Fraction | None:
    """The one number that the text is, in LaTeX or plain: `042`, `1,024`, `\\frac{84}{2}`, `m+n = 42`, `42^\\circ`.
    It is read, not computed: other expressions are no number."""
    written = _FRACTION.sub(lambda match: f"{match[1] or match[2]}/{match[3] or match[4]}", text[:1_000])
    plain = _DECORATION.sub("", _WRAPPED.sub(_unwrapped, written).replace("−", "-").replace("\\ ", " "))
    if re.search(r"\d\s+\d", plain):
        return None
    plain = re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", re.sub(r"\s+", "", plain))
    if plain.startswith("(") and plain.endswith(")"):
        plain = plain[1:-1]
    found = _NUMBER.fullmatch(plain)
    if found is None or (found[2] is not None and not int(found[2])):
        return None
    return Fraction(found[1]) / int(found[2] or 1)


def _unwrapped(match: re.Match[str]) -> str:
    """A number stays; words that do not change one become a mark."""
    words = match[1]
    return words if re.search(r"\d", words) or not words.strip() or _MULTIPLES.search(words) else _WORDS


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
