"""What a reader must know before any number: unfinished or damaged work, lost stop tokens, missing isolation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from forklock.evaluate.table import UNSAFE
from forklock.report.contents import Contents
from forklock.run_dir import StageStatus
from forklock.students import labels_of
from forklock.sweep.cells import stages_of_sweep

MUCH_MORE_AT_LIMIT = 0.05
"""Of the samples, this share more at the length limit than the base has is a warning."""
MUCH_LONGER = 0.2
"""A student that writes so much more a solution may owe its gain to that."""
MOST_NAMED = 6


@dataclass(frozen=True)
class Alert:
    level: Literal["bad", "warning"]
    title: str
    text: str


def alerts(contents: Contents) -> list[Alert]:
    return [*_progress(contents), *_troubles(contents), *_training(contents), *_evaluation(contents)]


def _progress(contents: Contents) -> Iterator[Alert]:
    stages = contents.status.stages
    missing = [stage for stage in stages if stage.state in ("not started", "partial", "running")]
    errors = _last_errors(contents)
    if contents.status.holder is not None:
        yield Alert("warning", "At work", "A process works in this run folder now; this is what was there before.")
    for stage in missing:
        if (error := errors.get(stage.stage)) is not None:
            yield Alert("bad", "Failed", f"{stage.stage}: {error}")
    needed = stages_of_sweep(contents.recipe)
    if missing and contents.sweep is not None and not needed & {stage.stage for stage in missing}:
        yield Alert("warning", "A sweep by itself", f"The sweep is complete. Not run besides: {_names(missing)}.")
    elif missing:
        num_done = len(stages) - len(missing)
        text = f"{num_done} of {len(stages)} stages are complete. Missing: {_names(missing)}."
        yield Alert("bad", "Unfinished run", f"{text} The report shows what there is.")
    damaged = [
        f"{stage.stage}: {'; '.join(stage.reasons[:MOST_NAMED])}" for stage in stages if stage.state == "corrupt"
    ]
    for text in _merged(contents, damaged):
        yield Alert("bad", "Damaged", f"{text}. Numbers are those of the files as they are.")
    stale = [stage for stage in stages if stage.state == "stale"]
    if stale:
        reasons = "; ".join(dict.fromkeys(reason for stage in stale for reason in stage.reasons))
        text = f"{_names(stale)}: made with other settings or inputs than the recipe here and now names ({reasons})."
        yield Alert("warning", "Stale", text)


def _last_errors(contents: Contents) -> dict[str, str]:
    """Of stages whose last attempt failed."""
    errors: dict[str, str] = {}
    for event in contents.events:
        if event.stage is None:
            continue
        if event.event == "stage_failed":
            errors[event.stage] = str(event.details.get("error", "no reason is recorded"))
        elif event.event in ("stage_started", "stage_finished"):
            errors.pop(event.stage, None)
    return errors


def _troubles(contents: Contents) -> Iterator[Alert]:
    for text in _merged(contents, contents.troubles):
        yield Alert("bad", "Could not be read", text)


def _merged(contents: Contents, texts: Iterable[str]) -> Iterator[str]:
    """One of those that differ in stage and numbers alone, so that what ails every stage is said once."""
    stages = sorted((stage.stage for stage in contents.status.stages), key=len, reverse=True)
    alike: dict[str, list[tuple[str, str]]] = {}
    for text in texts:
        text = text.replace(f"{contents.run_dir}/", "")
        stage = next((name for name in stages if name in text), "")
        kind = re.sub(r"\d+", "0", text.replace(stage, "")) if stage else text
        alike.setdefault(kind, []).append((stage, text))
    for found in alike.values():
        others = [stage for stage, _ in found[1:] if stage]
        more = f" (and the like of {_listed(others)})" if others else ""
        yield f"{found[0][1]}{more}"


def _training(contents: Contents) -> Iterator[Alert]:
    """A fall of the stop probability and of the completions that end, among them."""
    for name, training in contents.trainings.items():
        summary = training.summary or {}
        health = summary.get("stop_health") or {}
        of_health = (health.get("warning"), (health.get("endings") or {}).get("warning"))
        for warning in dict.fromkeys(filter(None, (*summary.get("warnings", ()), *of_health))):
            yield Alert("bad", f"Training of {labels_of(contents.recipe)[name]}", f"{warning}.")


def _evaluation(contents: Contents) -> Iterator[Alert]:
    for name, benchmark in contents.outcome["benchmarks"].items():
        if not benchmark["is_isolated"]:
            yield Alert("bad", f"{name}", f"{UNSAFE}.")
        for note in benchmark["notes"]:
            yield Alert("warning", f"{name}", f"{note}.")
        points = {point["stage"]: point for point in benchmark["points"]}
        base = points.get(benchmark["base"])
        students = {"student": benchmark["student"]}
        students |= {student: found["stage"] for student, found in benchmark["others"].items()}
        for student, stage in students.items():
            if base is not None and stage is not None:
                yield from _against_base(name, benchmark["labels"][student], base, points[stage])


def _against_base(name: str, label: str, base: dict[str, Any], point: dict[str, Any]) -> Iterator[Alert]:
    before, after = base["share_at_limit"], point["share_at_limit"]
    if before is not None and after is not None and after - before > MUCH_MORE_AT_LIMIT:
        text = f"{after:.1%} of its samples run into the length limit, {before:.1%} of the base's."
        yield Alert("bad", f"{name}: {label} does not end", text)
    before, after = base["mean_tokens"], point["mean_tokens"]
    if before and after and after / before - 1 > MUCH_LONGER:
        text = f"{after:,.0f} tokens a solution, the base {before:,.0f}: compare them at equal numbers of tokens."
        yield Alert("warning", f"{name}: {label} writes more", text)


def _names(stages: list[StageStatus]) -> str:
    return _listed([stage.stage for stage in stages])


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
