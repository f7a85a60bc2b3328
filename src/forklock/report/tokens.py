"""Solutions for the token reader: classes, distances and alternatives, of the rows that the analysis kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forklock.analyze.rows import TOKEN_STATS, shards_in
from forklock.model_path import local_folder
from forklock.packages import load_package
from forklock.prompts.records import read_prompts
from forklock.report.contents import Contents
from forklock.stages import ANALYSIS

NUM_ALTERNATIVES = 6
LEAST_PROBABILITY = 0.001
MOST_TOKENS = 30_000
"""Of all solutions together, so that the page stays small: the rest of a first one and those beyond are left out."""
MOST_STATEMENT_CHARACTERS = 4_000
_STEPS = 10_000
"""Probabilities as whole numbers, of a percent of a percent."""
_COLUMNS = (
    "prompt_id",
    "sample_index",
    "position",
    "token_id",
    "token_text",
    "syntax",
    "base_class",
    "trained_class",
    "base_probability",
    "trained_probability",
    "total_variation",
    "candidate_ids",
    "candidate_base_probabilities",
    "candidate_trained_probabilities",
)
Row = dict[str, Any]


def reader_data(contents: Contents) -> dict[str, Any]:
    """The first `report.num_samples_shown` solutions in the analysis' own order, which is drawn by the seed."""
    statements = _statements(contents.run_dir)
    texts: dict[int, str] = {}
    syntax: dict[str, int] = {}
    solutions: list[dict[str, Any]] = []
    num_tokens = 0
    for rows in _solutions(contents.run_dir / ANALYSIS, contents.recipe.report.num_samples_shown):
        num_tokens += len(rows)
        if solutions and num_tokens > MOST_TOKENS:
            break
        solutions.append(_solution(rows, statements, texts, syntax))
    named = {token[0] for solution in solutions for token in solution["tokens"]}
    named |= {token_id for solution in solutions for token in solution["tokens"] for token_id in token[5][::3]}
    decode = token_decoder(contents)
    if decode is not None:
        texts |= {token_id: decode([token_id]) for token_id in sorted(named - texts.keys())}
    return {"solutions": solutions, "texts": texts, "syntax": list(syntax)}


def token_decoder(contents: Contents) -> Callable[[list[int]], str] | None:
    """By the tokenizer that lies beside a trained model, or in the model's own folder; None where there is none.

    Special tokens come by name.
    """
    folders = [contents.run_dir / stage / "model" for stage in contents.plan.trainings.values()]
    if (own := local_folder(contents.recipe.model.path)) is not None:
        folders.append(own)
    path = next((folder / "tokenizer.json" for folder in folders if (folder / "tokenizer.json").is_file()), None)
    if path is None:
        return None
    try:
        tokenizer = load_package("tokenizers").Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the package raises nothing more precise
        contents.troubles.append(f"{path}: cannot be read as a tokenizer: {error}")
        return None

    def decode(token_ids: list[int]) -> str:
        text: str = tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    return decode


def _solutions(folder: Path, num_wanted: int) -> Iterator[list[Row]]:
    num_given = 0
    for path in shards_in(folder):
        rows: list[Row] = []
        for row in [*TOKEN_STATS.open(path).read(columns=list(_COLUMNS)).to_pylist(), None]:
            if rows and (row is None or row["position"] == 0):
                if num_given == num_wanted:
                    return
                num_given += 1
                yield rows
                rows = []
            if row is not None:
                rows.append(row)


def _solution(
    rows: list[Row], statements: Mapping[str, str], texts: dict[int, str], syntax: dict[str, int]
) -> dict[str, Any]:
    counts = {name: sum(row["base_class"] == name for row in rows) for name in ("fork", "lock")}
    crossed = sum(row["base_class"] != row["trained_class"] for row in rows)
    moved = sum(row["total_variation"] for row in rows) / len(rows)
    texts |= {row["token_id"]: row["token_text"] for row in rows if row["token_text"]}
    first = rows[0]
    left_out = f" Only the first {MOST_TOKENS:,} are shown." if len(rows) > MOST_TOKENS else ""
    return {
        "name": f"{first['prompt_id']}: {counts['fork']} forks in {len(rows)} tokens",
        "statement": statements.get(first["prompt_id"], "")[:MOST_STATEMENT_CHARACTERS],
        "words": (
            f"{len(rows):,} tokens: {counts['fork']:,} forks and {counts['lock']:,} locks in the base model, "
            f"{crossed:,} of another class after training; mean distance {moved:.1%}.{left_out}"
        ),
        "tokens": [_token(row, syntax) for row in rows[:MOST_TOKENS]],
    }


def _token(row: Row, syntax: dict[str, int]) -> list[Any]:
    """As short as it can be: `reader.js` says what stands where."""
    found = list(
        zip(
            row["candidate_ids"],
            row["candidate_base_probabilities"],
            row["candidate_trained_probabilities"],
            strict=True,
        )
    )
    drawn = (row["token_id"], row["base_probability"], row["trained_probability"])
    likely = [one for one in found if one[0] != drawn[0] and max(one[1:]) >= LEAST_PROBABILITY]
    likely.sort(key=lambda one: -max(one[1:]))
    shown = sorted([drawn, *likely[: NUM_ALTERNATIVES - 1]], key=lambda one: -one[1])
    flat = [number for token_id, *both in shown for number in (token_id, *(round(p * _STEPS) for p in both))]
    classes = row["base_class"][0] + row["trained_class"][0]
    moved = round(row["total_variation"] * _STEPS)
    return [row["token_id"], row["token_text"], classes, moved, syntax.setdefault(row["syntax"], len(syntax)), flat]


def _statements(run_dir: Path) -> dict[str, str]:
    path = run_dir / "prompts" / "prompts.parquet"
    return {prompt.prompt_id: prompt.statement for prompt in read_prompts(path)} if path.is_file() else {}
