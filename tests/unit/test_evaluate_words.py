"""Sentences about made-up verdicts, of which the outcome is known."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from report_cases import Counts, concluded, demo
from rich.console import Console

from forklock import recipes
from forklock.config import Recipe
from forklock.evaluate.points import PointPlan
from forklock.evaluate.table import render
from forklock.evaluate.words import CHOSEN_BASE, CHOSEN_STUDENT, FIXED_BEFORE, POOLED, TIE
from forklock.report.result_tables import claims_table
from forklock.students import replicates_of

NUM_PROBLEMS = 30
BASE_OWN = "the base at its own decoding (T=0.7 k=20 p=0.8)"
HALF_SURE = [4] * NUM_PROBLEMS


def bare(*overrides: str) -> Recipe:
    """No sweep and no grid: nothing to choose from."""
    return demo(
        "evaluate.base_temperatures=[]",
        "evaluate.student_temperatures=[]",
        "evaluate.base_grid=none",
        "evaluate.pass_k=[1]",
        *overrides,
    )


def swept() -> Recipe:
    return demo(
        "evaluate.base_temperatures=[0.9]",
        "evaluate.student_temperatures=[1.3]",
        "evaluate.base_grid={temperatures = [0.8], truncations = [{top_k = 20, top_p = 0.9}]}",
        "evaluate.pass_k=[1]",
    )


def by_setting(default: int, **counts: int) -> Counts:
    """`base_0_9` stands for the base at T=0.9."""

    def of(plan: PointPlan) -> list[int]:
        name = f"{plan.model}_{plan.decoding.temperature}".replace(".", "_")
        return [counts.get(name, default)] * NUM_PROBLEMS

    return of


def benchmark_of(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = report["benchmarks"]["microworld"]
    return found


@pytest.mark.parametrize(
    ("student", "claim"),
    [
        ([7] * NUM_PROBLEMS, f"beats {BASE_OWN} by +30.0 points (+30.0 to +30.0)."),
        ([2] * NUM_PROBLEMS, f"is behind {BASE_OWN} by 20.0 points (-20.0 to -20.0)."),
        (HALF_SURE, f"ties with {BASE_OWN}: +0.0 points (+0.0 to +0.0)."),
        ([1, 7] * (NUM_PROBLEMS // 2), f"ties with {BASE_OWN}: +0.0 points (-"),
        # Different at one problem alone: resamples without it are more than one in forty.
        ([10, *HALF_SURE[1:]], f"ties with {BASE_OWN}: +2.0 points (+0.0 to +"),
        ([0, *HALF_SURE[1:]], f"ties with {BASE_OWN}: -1.3 points (-4.0 to +0.0)."),
    ],
)
def test_a_claim_is_decided_by_its_interval(student: list[int], claim: str, tmp_path: Path) -> None:
    report = concluded(bare(), tmp_path, lambda plan: student if plan.model == "student" else HALF_SURE)
    sentences = benchmark_of(report)["verdict"]
    assert sentences[0].startswith(f"pass@1: +SSD (T=1.6 k=20 p=0.8) {claim}"), sentences[0]
    assert any(sentence.startswith("pass@1: +SSD soft (T=1.6") and "ties" in sentence for sentence in sentences)
    # The other student ties in every case, and nothing was chosen in any.
    assert sentences[-2:] == [FIXED_BEFORE, TIE]


def test_a_win_over_the_usual_decoding_can_be_a_loss_to_the_best(tmp_path: Path) -> None:
    counts = by_setting(5, base_0_7=4, base_0_9=6, base_0_8=8, student_1_3=7, soft_1_3=3)
    sentences = benchmark_of(concluded(swept(), tmp_path, counts))["verdict"]
    own, chosen = "+SSD (T=1.6 k=20 p=0.8)", "+SSD at the best of its 2 decodings (T=1.3 k=20 p=0.8)"
    temperature, everything = (
        "the base at the best of its 2 temperatures (T=0.9 k=20 p=0.8)",
        "the base at the best of all its 3 decodings (T=0.8 k=20 p=0.9)",
    )
    assert sentences[:5] == [
        f"pass@1: {own} beats {BASE_OWN} by +10.0 points (+10.0 to +10.0).",
        f"pass@1: {own} is behind {temperature} by 10.0 points (-10.0 to -10.0).",
        f"pass@1: {own} is behind {everything} by 30.0 points (-30.0 to -30.0).",
        f"pass@1: {chosen} beats {temperature} by +10.0 points (+10.0 to +10.0).",
        f"pass@1: {chosen} is behind {everything} by 10.0 points (-10.0 to -10.0).",
    ]
    none_better = "none of the 2 decodings of +SSD soft is above its own (T=1.6 k=20 p=0.8)"
    assert f"pass@1: {none_better}, so that best against best is what stands above." in sentences
    assert sentences[-3:] == [CHOSEN_BASE, FIXED_BEFORE, CHOSEN_STUDENT]


def test_rivals_that_are_one_point_share_a_sentence(tmp_path: Path) -> None:
    counts = by_setting(3, base_0_7=4, student_1_6=5)
    sentences = benchmark_of(concluded(swept(), tmp_path, counts))["verdict"]
    assert sentences[0] == (
        "pass@1: +SSD (T=1.6 k=20 p=0.8) beats the base at its own decoding, also the best of its 2 temperatures, "
        "also the best of all its 3 decodings (T=0.7 k=20 p=0.8) by +10.0 points (+10.0 to +10.0)."
    )
    assert not sentences[1].startswith("pass@1: +SSD (")


def test_the_best_is_the_best_at_each_k(tmp_path: Path) -> None:
    """Right always on 7 of 10 problems has the better pass@1; right 6 times of 10 on each, the better pass@5."""
    sure, even = [0 if index % 10 < 3 else 10 for index in range(NUM_PROBLEMS)], [6] * NUM_PROBLEMS
    recipe = bare("evaluate.base_temperatures=[0.9]", "evaluate.pass_k=[1, 5]")
    report = concluded(recipe, tmp_path, lambda plan: even if plan.decoding.temperature == 0.9 else sure)
    contests = benchmark_of(report)["contests"]
    best = {
        contest["k"]: contest["base_stage"]
        for contest in contests
        if (contest["model"], contest["base"]) == ("student", "temperature")
    }
    assert best == {
        1: "evaluate/base-microworld-t0.7-k20-p0.8",
        5: "evaluate/base-microworld-t0.9-k20-p0.8",
    }
    [found] = [each["differences"]["all"] for each in contests if each["k"] == 5 and each["base"] == "temperature"][:1]
    assert found["mean"] == pytest.approx(-0.3)


def test_a_table_of_another_k_says_what_chose_its_best_base(tmp_path: Path) -> None:
    counts = by_setting(3, base_0_9=4, student_1_6=5)
    report = concluded(bare("evaluate.base_temperatures=[0.9]", "evaluate.pass_k=[1, 5]"), tmp_path, counts)
    console = Console(width=200, record=True, file=StringIO())
    console.print(render(report))
    first, second = console.export_text().split("microworld, pass@5")
    assert "best base T=0.9" in first
    assert "by pass@1" not in first
    assert "best base by pass@1 T=0.9" in second
    assert "to the best base by pass@1 " in second


def test_length_and_equal_budgets_are_in_one_sentence(tmp_path: Path) -> None:
    """A student's sample is half as long again: it gets two for the base's three."""
    report = concluded(bare("evaluate.pass_k=[1, 10]"), tmp_path, by_setting(4, student_1_6=5))
    [sentence] = [each for each in benchmark_of(report)["verdict"] if each.startswith("Length") and "soft" not in each]
    assert sentence == (
        "Length: the base writes 100 tokens and 1.00 code blocks a solution, +SSD 150 (+50%) and 1.00; "
        "with 100 tokens a problem (k=1) +SSD is behind the base by "
        + sentence.partition("behind the base by ")[2].partition(";")[0]
        + "; with 1,000 tokens a problem (k=10) +SSD ties with the base: +0.0 points (+0.0 to +0.0)."
    )


def test_few_problems_are_named(tmp_path: Path) -> None:
    report = concluded(bare(), tmp_path, lambda plan: [5, 6, 7])
    assert "Caution: with 3 problems (under 20)" in benchmark_of(report)["verdict"][-1]


def test_nothing_is_said_of_a_base_alone(tmp_path: Path) -> None:
    recipe = bare()
    report = concluded(recipe, tmp_path, by_setting(4), models=("base",))
    assert benchmark_of(report)["verdict"] == []
    assert sorted(Path(path).suffix for path in report["figures"]) == [".csv", ".png", ".svg"]


def test_training_seeds_are_taken_together_first(tmp_path: Path) -> None:
    """Three seeds with 5, 6 and 7 right of ten, on a base with 4; only those that differ in nothing else."""
    seeds = bare("students.again.seed=1", "students.third.seed=2")
    counts = {"base": 4, "student": 5, "again": 6, "third": 7, "soft": 3}
    report = concluded(seeds, tmp_path, lambda plan: [counts[plan.model]] * NUM_PROBLEMS)
    benchmark = benchmark_of(report)
    [found] = benchmark["pooled"]
    assert found["models"] == ["student", "again", "third"]
    assert found["pass_at_k"]["all"]["pass@1"]["mean"] == pytest.approx(0.6)
    assert found["means"] == {"pass@1": pytest.approx([0.5, 0.6, 0.7])}
    assert found["difference"]["easy"]["pass@1"]["mean"] == pytest.approx(0.2)
    assert benchmark["verdict"][0] == (
        "pass@1: +SSD, 3 training seeds (T=1.6 k=20 p=0.8; 50.0, 60.0, 70.0) "
        f"beats {BASE_OWN} by +20.0 points (+20.0 to +20.0)."
    )
    assert POOLED in benchmark["verdict"]
    console = Console(width=200, file=StringIO())
    console.print(render(report))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "+SSD, 3 training seeds T=1.6 k=20 p=0.8" in text
    assert "+SSD, 3 training seeds: difference" in text
    [claims] = [claims_table("microworld", benchmark, [1], ["own"])]
    assert claims is not None
    assert claims.rows[-1].cells[0].text == "+20.0"


def test_seeds_are_not_taken_together_before_all_are_complete(tmp_path: Path) -> None:
    recipe = bare("students.again.seed=1")
    report = concluded(recipe, tmp_path, lambda plan: HALF_SURE, models=("base", "student", "soft"))
    assert benchmark_of(report)["pooled"] == []
    assert POOLED not in benchmark_of(report)["verdict"]


def test_students_of_the_confirmation_are_three_seeds_of_each_target() -> None:
    assert replicates_of(recipes.load(["demo-confirm"])) == [
        ("student", "hard-seed1", "hard-seed2"),
        ("soft", "soft-seed1", "soft-seed2"),
    ]
    assert replicates_of(recipes.load(["demo"])) == []
