"""What an evaluation says, in sentences: each claim is decided by the interval of a paired difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from forklock.evaluate.contests import Form
from forklock.evaluate.metrics import ALL
from forklock.evaluate.notation import in_points, setting_text
from forklock.students import OWN

Claim: TypeAlias = Literal["beats", "is behind", "ties with", "undefined"]
FORMS: tuple[Form, ...] = ("own", "best")
FEW_PROBLEMS = 20
FEW = f"Caution: with {{}} problems (under {FEW_PROBLEMS}) the intervals are too narrow, and the claims too sure."
ROUNDING = 1e-9
"""A bound this near to 0 is 0: sums of tenths and fifths that cancel on paper leave so much and less."""
CHOSEN_BASE = (
    "Caution: the base's best was chosen on these same problems, which flatters the base in comparisons with it."
)
POOLED = (
    "Several training seeds together: a problem counts by its mean over them; intervals say how sure that mean is over "
    "problems like these, and the means in brackets how far seeds differ."
)
CHOSEN_STUDENT = "Caution: a student's best was chosen on these same problems too, which flatters the student just so."
FIXED_BEFORE = "Caution: a student's own decoding counts only if it was fixed before any of these results was seen."
TIE = "A tie says that these problems do not tell the two apart, not that they are equal."


def verdict(benchmark: dict[str, Any], pass_k: Sequence[int]) -> list[str]:
    """Of one benchmark of `report.gather`, over all its problems; nothing before a student and the base are complete.
    Students that were trained with several seeds come first, all seeds together.

    A difference whose whole interval is above 0 is "beats", below 0 "is behind", any other "ties with". Many such
    claims stand side by side, and none is corrected for that.
    """
    contests = benchmark["contests"]
    points = {point["stage"]: point for point in benchmark["points"]}
    own = {contest["model"]: contest["student_stage"] for contest in contests if contest["student"] == "own"}
    sentences = [sentence for found in benchmark["pooled"] for sentence in _of_replicates(found, points)]
    for student, stage in own.items():
        for form in FORMS:
            for k in pass_k:
                sentences += [sentence for _, sentence in sentences_about(benchmark, student, form, k)]
        sentences.append(_length(benchmark, student, points[stage], points))
    if contests:
        sentences += [POOLED] if benchmark["pooled"] else []
        sentences += _cautions(contests, sentences, points[benchmark["base"]]["num_problems"])
    return sentences


def sentences_about(benchmark: dict[str, Any], student: str, form: Form, k: int) -> Iterator[tuple[Claim, str]]:
    """One student in one form at one k. Rivals that are the same point share a sentence."""
    of_student = [contest for contest in benchmark["contests"] if (contest["model"], contest["k"]) == (student, k)]
    contests = [contest for contest in of_student if contest["student"] == form]
    if not contests:
        return
    points = {point["stage"]: point for point in benchmark["points"]}
    own_stage = next(contest["student_stage"] for contest in of_student if contest["student"] == "own")
    k, stage, num_points = (contests[0][key] for key in ("k", "student_stage", "num_student_points"))
    label, decoding = benchmark["labels"][student], setting_text(points[stage]["decoding"])
    if num_points > 1 and stage == own_stage:
        none_better = f"none of the {num_points} decodings of {label} is above its own ({decoding})"
        yield "undefined", f"pass@{k}: {none_better}, so that best against best is what stands above."
        return
    who = f"{label} at the best of its {num_points} decodings" if num_points > 1 else label
    for base_stage in dict.fromkeys(contest["base_stage"] for contest in contests):
        alike = [contest for contest in contests if contest["base_stage"] == base_stage]
        titles = ", also ".join(rival_title(contest) for contest in alike)
        base = f"the base at {titles} ({setting_text(points[base_stage]['decoding'])})"
        found = alike[0]["differences"][ALL]
        yield claim_of(found), f"pass@{k}: {who} ({decoding}) {_claim(found, base)}."


def _of_replicates(found: dict[str, Any], points: dict[str, Any]) -> Iterator[str]:
    """Of models that differ by their seed, together; then each model has its own sentences."""
    for contest in found["contests"]:
        means = ", ".join(_percent(mean) for mean in found["means"][f"pass@{contest['k']}"])
        base = f"the base at {rival_title(contest)} ({setting_text(points[contest['base_stage']]['decoding'])})"
        claim = _claim(contest["differences"][ALL], base)
        yield f"pass@{contest['k']}: {found['label']} ({setting_text(found['decoding'])}; {means}) {claim}."


def _percent(mean: float | None) -> str:
    return "undefined" if mean is None else f"{100 * mean:.1f}"


def rival_title(contest: dict[str, Any]) -> str:
    num_points = contest["num_base_points"]
    return {
        "usual": "its own decoding",
        "temperature": f"the best of its {num_points} temperatures",
        "everything": f"the best of all its {num_points} decodings",
    }[contest["base"]]


def claim_of(found: dict[str, Any] | None) -> Claim:
    """What the interval of a paired difference allows to be said."""
    if found is None:
        return "undefined"
    if found["low"] > ROUNDING:
        return "beats"
    return "is behind" if found["high"] < -ROUNDING else "ties with"


def _claim(found: dict[str, Any] | None, rival: str) -> str:
    if found is None:
        return f"can't be put against {rival}: undefined"
    mean, bounds = in_points(found)
    return {
        "beats": f"beats {rival} by {mean} points ({bounds})",
        "is behind": f"is behind {rival} by {-100 * found['mean']:.1f} points ({bounds})",
    }.get(claim_of(found), f"ties with {rival}: {mean} points ({bounds})")


def _length(benchmark: dict[str, Any], student: str, point: dict[str, Any], points: dict[str, Any]) -> str:
    """What both write, and what is left of the difference when both may write as many tokens a problem."""
    base, label = points[benchmark["base"]], benchmark["labels"][student]
    budgets = (benchmark if student == OWN else benchmark["others"][student])["matched_budgets"]
    blocks = f"{base['mean_code_blocks']:.2f} code blocks a solution, {label} {{}}{point['mean_code_blocks']:.2f}"
    if budgets is None:
        return f"Length: the base writes {blocks.format('')}."
    change = point["mean_tokens"] / base["mean_tokens"] - 1
    parts = [
        f"Length: the base writes {base['mean_tokens']:,.0f} tokens and "
        + blocks.format(f"{point['mean_tokens']:,.0f} ({change:+.0%}) and ")
    ]
    for name, found in budgets.items():
        claim = _claim(found["difference"], "the base")
        parts.append(f"with {found['budget_tokens']:,.0f} tokens a problem ({name}) {label} {claim}")
    return "; ".join(parts) + "."


def _cautions(contests: list[dict[str, Any]], sentences: list[str], num_problems: int) -> list[str]:
    is_said = {
        CHOSEN_BASE: any(contest["base"] != "usual" for contest in contests),
        FIXED_BEFORE: True,
        CHOSEN_STUDENT: any(contest["student"] == "best" for contest in contests),
        TIE: any(" ties with " in sentence for sentence in sentences),
        FEW.format(num_problems): num_problems < FEW_PROBLEMS,
    }
    return [caution for caution, is_due in is_said.items() if is_due]
