"""AIME: the integer that each form of an answer means, as a reader of mathematics would say."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_cases import AIME_ROW, problems_in, write_jsonl

from forklock.benchmarks.aime import number_in
from forklock.code_blocks import Style

FORMS: dict[str, int | None] = {
    "\\boxed{42}": 42,
    "\\boxed{042}": 42,
    "\\boxed{007}": 7,
    "\\boxed{000}": 0,
    "\\boxed{0}": 0,
    "$\\boxed{42}$": 42,
    "$$\\boxed{42}$$": 42,
    "\\[\\boxed{42}\\]": 42,
    "\\boxed{42.0}": 42,
    "\\boxed{42.}": 42,
    "\\boxed{42.00}": 42,
    "\\boxed{42.5}": None,
    "\\boxed{\\frac{84}{2}}": 42,
    "\\boxed{\\dfrac{84}{2}}": 42,
    "\\boxed{\\tfrac{84}{2}}": 42,
    "\\boxed{84/2}": 42,
    "\\boxed{-\\frac{84}{2}}": -42,
    "\\boxed{\\frac{-84}{-2}}": 42,
    "\\boxed{-42}": -42,
    "\\boxed{−42}": -42,
    "\\boxed{+42}": 42,
    "\\boxed{1,024}": 1024,
    "\\boxed{1{,}024}": 1024,
    "\\boxed{1\\,024}": 1024,
    "\\boxed{\\text{42}}": 42,
    "\\boxed{\\textbf{42}}": 42,
    "\\boxed{\\mathbf{42}}": 42,
    "\\boxed{\\mathrm{42}}": 42,
    "\\boxed{42^\\circ}": 42,
    "\\boxed{42^{\\circ}}": 42,
    "\\boxed{42°}": 42,
    "\\boxed{42\\text{ degrees}}": 42,
    "\\boxed{42\\ \\text{units}}": 42,
    "\\boxed{42\\text{ cm}}": 42,
    "\\boxed{42 \\text{ square units}}": 42,
    "\\boxed{42\\text{ minutes}}": 42,
    "\\boxed{42\\%}": 42,
    "\\boxed{\\$42}": 42,
    "\\boxed{n = 42}": 42,
    "\\boxed{m+n=42}": 42,
    "\\boxed{m + n = 42}": 42,
    "\\boxed{x=42}": 42,
    "\\boxed{p+q+r = 042}": 42,
    "\\boxed{\\text{Answer: }42}": 42,
    "\\boxed{\\left(42\\right)}": 42,
    "\\boxed{(42)}": 42,
    "\\boxed{{42}}": 42,
    "\\boxed{\\boxed{42}}": 42,
    "\\boxed{ 42 }": 42,
    "\\boxed 42": 42,
    "\\boxed{42} or so, i.e. \\boxed{42}": 42,
    "First \\boxed{41}, corrected: \\boxed{42}": 42,
    "\\fbox{42}": 42,
    "\\boxed{42, 43}": None,
    "\\boxed{\\text{none}}": None,
    "The answer is 42.": 42,
    "The answer is $42$.": 42,
    "The answer is **42**.": 42,
    "The final answer is: 042": 42,
    "Answer: 42": 42,
    "**Answer:** 42": 42,
    "**Final Answer:** $42$": 42,
    "the answer is 1,024.": 1024,
    "The answer is $m+n=42$.": 42,
    "The answer is m + n = 42.": 42,
    "So the answer is\n\n$$42$$": 42,
    "The answer is \\(42\\).": 42,
    "The answer is -7": -7,
    "The answer is 41. Wait, the answer is 42.": 42,
    "The answer is \\frac{84}{2}.": 42,
    "Therefore, the result is \\textbf{042}.": 42,
    "\\boxed{42 43}": None,
    "\\boxed{42\\text{ or }43}": None,
    "\\boxed{x=41,y=42}": None,
    "\\boxed{n\\ge 42}": None,
    "\\boxed{42\\text{ million}}": None,
    "\\boxed{\\frac{42}{0}}": None,
    "\\boxed{\\frac842}": None,
    "\\boxed {42}": 42,
    "\\boxed{42": None,
    "It is 42": None,
    "The answer is 42/2": None,
}
"""None: no integer, or more than one."""
THOUGHT = {
    "<think>\\boxed{41}</think>The answer is \\boxed{42}": 42,
    "<think>Maybe \\boxed{41}</think>The answer is 42.": 42,
}
TO_COMPUTE = [
    "\\boxed{2^{5}}",
    "\\boxed{6\\times 7}",
    "\\boxed{\\sqrt{1764}}",
    "\\boxed{4.2\\times10^1}",
    "\\boxed{6 \\cdot 7}",
    "\\boxed{40+2}",
]
"""Right for a reader, but they have to be worked out, which nothing here does."""


def integer_in(text: str, style: Style, folder: Path) -> int | None:
    path = write_jsonl(folder / "rows.jsonl", [AIME_ROW])
    [problem] = problems_in("aime-24", path).values()
    answer = problem.answer_in(text, style)
    number = None if answer is None else number_in(answer)
    return int(number) if number is not None and number.denominator == 1 else None


@pytest.mark.parametrize("text", FORMS)
def test_the_integer_that_an_answer_means(text: str, tmp_path: Path) -> None:
    assert integer_in(text, "instruct", tmp_path) == FORMS[text]


@pytest.mark.parametrize("text", THOUGHT)
def test_a_box_among_the_thoughts_is_no_answer(text: str, tmp_path: Path) -> None:
    assert integer_in(text, "thinking", tmp_path) == THOUGHT[text]


@pytest.mark.parametrize("text", TO_COMPUTE)
def test_an_expression_is_not_worked_out(text: str, tmp_path: Path) -> None:
    assert integer_in(text, "instruct", tmp_path) is None
