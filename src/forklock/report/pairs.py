"""Base and trained solutions of the same problems, side by side with their verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from forklock.evaluate.verdicts import Verdict, verdicts_in
from forklock.report.contents import Contents
from forklock.sampling.sample import SAMPLES
from forklock.sampling.shards import shards_in
from forklock.seeds import derive_seed
from forklock.students import BASE, OWN, labels_of

NUM_SAMPLES = 5
"""Of each model."""
MOST_CHARACTERS = 6_000
"""Of a solution, of its beginning and its end; the middle is left out."""
MOST_PROMPT_CHARACTERS = 4_000
_COLUMNS = ["prompt_id", "sample_index", "prompt_token_ids", "text"]


def pair_data(
    contents: Contents, name: str, stages: tuple[str, str], decode: Callable[[list[int]], str] | None
) -> dict[str, Any] | None:
    """`report.num_samples_shown` problems by the recipe's seed, whatever became of them."""
    verdicts = [_by_problem(verdicts_in(contents.run_dir / stage)) for stage in stages]
    seed = contents.recipe.seed
    order = sorted(
        verdicts[0].keys() & verdicts[1].keys(), key=lambda problem: derive_seed(seed, "report", name, problem)
    )
    chosen = order[: contents.recipe.report.num_samples_shown]
    if not chosen:
        return None
    samples = [_samples(contents.run_dir / stage, set(chosen)) for stage in stages]
    problems = []
    for problem in chosen:
        sides = [_side(found[problem], texts) for found, texts in zip(verdicts, samples, strict=True)]
        passed = [sum(verdict.passed for verdict in found[problem]) for found in verdicts]
        totals = [len(found[problem]) for found in verdicts]
        base, trained = (f"{p} of {n}" for p, n in zip(passed, totals, strict=True))
        difficulty = verdicts[0][problem][0].difficulty
        kind = f" ({difficulty})" if difficulty else ""
        problems.append(
            {
                "name": f"{problem}{kind}: base {base}, trained {trained} right",
                "prompt": _prompt(samples[0], problem, decode),
                "sides": sides,
            }
        )
    labels = labels_of(contents.recipe)
    return {"id": f"pairs-{name}", "labels": [labels[BASE], labels[OWN]], "problems": problems}


def _by_problem(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.problem_id, []).append(verdict)
    return {problem: sorted(group, key=lambda verdict: verdict.sample_index) for problem, group in found.items()}


def _samples(folder: Path, wanted: set[str]) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (row["prompt_id"], row["sample_index"]): row
        for path in shards_in(folder)
        for batch in SAMPLES.open(path).iter_batches(batch_size=256, columns=_COLUMNS)
        for row in batch.to_pylist()
        if row["prompt_id"] in wanted
    }


def _side(verdicts: list[Verdict], samples: dict[tuple[str, int], dict[str, Any]]) -> list[dict[str, Any]]:
    counts = Counter(verdict.code_hash for verdict in verdicts if verdict.code_hash)
    return [
        {
            "index": verdict.sample_index,
            "passed": verdict.passed,
            "verdict": verdict.verdict.value.replace("_", " "),
            "why": _why(verdict),
            "text": _cut(
                samples.get(verdict.key, {}).get("text", "(its text is not in the run folder)"), MOST_CHARACTERS
            ),
            "words": _words(verdict, counts),
        }
        for verdict in verdicts[:NUM_SAMPLES]
    ]


def _why(verdict: Verdict) -> str:
    if verdict.passed:
        return ""
    parts = [f"test {verdict.failing_test + 1}" if verdict.failing_test is not None else "", verdict.cause]
    if verdict.expected or verdict.got:
        parts.append(f"expected {verdict.expected}, got {verdict.got}")
    return "; ".join(part for part in parts if part)


def _words(verdict: Verdict, counts: Counter[str]) -> str:
    parts = [f"{verdict.num_tokens:,} tokens"] if verdict.num_tokens is not None else []
    if verdict.num_code_blocks != 1:
        parts.append(f"{verdict.num_code_blocks} code blocks, the last one counts")
    if verdict.finish_reason == "length":
        parts.append("ran into the length limit")
    if (same := counts[verdict.code_hash]) > 1:
        parts.append(f"{same} samples here have this very program")
    if not verdict.is_isolated:
        parts.append("graded without full isolation")
    return "; ".join(parts)


def _prompt(
    samples: dict[tuple[str, int], dict[str, Any]], problem: str, decode: Callable[[list[int]], str] | None
) -> str:
    """As the model read it, chat template and all."""
    row = next((row for (name, _), row in samples.items() if name == problem), None)
    if row is None or decode is None:
        return "(the prompt cannot be shown: no sample of it, or no tokenizer, is in the run folder)"
    return _cut(decode(row["prompt_token_ids"]), MOST_PROMPT_CHARACTERS)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    left_out = len(text) - most
    return f"{text[: most // 2]}\n[... {left_out:,} characters left out ...]\n{text[-(most // 2) :]}"
