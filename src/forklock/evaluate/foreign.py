"""Samples from elsewhere, for `forklock grade`: all of a file is checked before anything is graded.

LiveCodeBench's custom outputs   one JSON list of {"question_id": ..., "code_list": [...]}; or of lists of programs, one
                                 for each problem of the benchmark, sorted by question_id
EvalPlus                         JSON lines of {"task_id": ..., "solution": ...} or {"task_id": ..., "completion": ...}
our own                          Parquet that `forklock` wrote; of a stage's folder its samples-*.parquet
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forklock.benchmarks import Problem
from forklock.code_blocks import Style, count_code_blocks
from forklock.errors import ForklockError
from forklock.evaluate.grading import Answer
from forklock.prompts import PromptsError
from forklock.prompts.rows import RepeatedKeyError, object_of, read_jsonl
from forklock.sampling import Sample, read_shard
from forklock.sampling.shards import shards_in


class ForeignSamplesError(ForklockError):
    """A file of samples can't be graded; the message names the file and the line."""


def read_answers(path: Path, problems: Mapping[str, Problem], style: Style) -> list[Answer]:
    """Every sample of the file or folder. Its format is told from its name: .json, .jsonl (or .gz), .parquet."""
    if not path.exists():
        raise ForeignSamplesError(f"{path}: no such file")
    if path.is_dir() or path.suffix == ".parquet":
        answers = list(_own(path, problems, style))
    elif path.suffix == ".json":
        answers = list(_livecodebench(path, problems))
    elif path.suffix in (".jsonl", ".gz"):
        try:
            answers = list(_evalplus(path, problems))
        except PromptsError as error:  # of the reader that both have: nothing is to be seen to in a recipe here
            raise ForeignSamplesError(str(error).removesuffix("; see prompts.path") + "; make it again") from error
    else:
        raise ForeignSamplesError(
            f"{path}: must end in .json (LiveCodeBench's custom outputs), .jsonl (EvalPlus) or .parquet (ours)"
        )
    if not answers:
        raise ForeignSamplesError(f"{path}: holds no samples")
    return answers


def answer_from_sample(sample: Sample, problem: Problem, style: Style) -> Answer:
    return Answer(
        problem_id=sample.prompt_id,
        sample_index=sample.sample_index,
        code=problem.answer_in(sample.text, style),
        num_code_blocks=count_code_blocks(sample.text),
        num_tokens=len(sample.token_ids),
        finish_reason=sample.finish_reason,
    )


def _own(path: Path, problems: Mapping[str, Problem], style: Style) -> Iterator[Answer]:
    shards = shards_in(path) if path.is_dir() else [path]
    if not shards:
        raise ForeignSamplesError(f"{path}: a folder without samples-*.parquet; name a stage's folder, or a file")
    seen: dict[tuple[str, int], str] = {}
    for shard in shards:
        for number, sample in enumerate(read_shard(shard), start=1):
            place = f"{shard} row {number}"
            problem = _problem(problems, sample.prompt_id, place)
            if sample.key in seen:
                raise ForeignSamplesError(
                    f"{place}: sample {sample.sample_index} of {sample.prompt_id} is in {seen[sample.key]} already"
                )
            seen[sample.key] = place
            yield answer_from_sample(sample, problem, style)


def _evalplus(path: Path, problems: Mapping[str, Problem]) -> Iterator[Answer]:
    """Several lines of one task are its samples, in their order."""
    taken: Counter[str] = Counter()
    for row in read_jsonl(path):
        if row.fault:
            raise ForeignSamplesError(f"{row.place}: {row.fault}")
        name, solution, completion = (row.values.get(key) for key in ("task_id", "solution", "completion"))
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise ForeignSamplesError(f"{row.place}: `task_id` is missing")
        bare = str(name).removeprefix("Mbpp/")  # MBPP's own ids are the numbers alone
        name = bare if bare in problems else str(name)
        problem = _problem(problems, name, row.place)
        if isinstance(solution, str):
            code = solution
        elif isinstance(completion, str):
            code = problem.answer_of_completion(completion)
        else:
            raise ForeignSamplesError(f"{row.place}: neither `solution` nor `completion` holds text")
        yield Answer(name, taken[name], code if code.strip() else None)
        taken[name] += 1


def _livecodebench(path: Path, problems: Mapping[str, Problem]) -> Iterator[Answer]:
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ForeignSamplesError(f"{path}: is not JSON ({error}); it may be cut short") from error
    if not isinstance(entries, list):
        raise ForeignSamplesError(f"{path}: is a JSON {type(entries).__name__}, not a list of question_id, code_list")
    starts = _line_numbers(path, text, len(entries))
    if entries and all(isinstance(entry, list) for entry in entries):
        entries = _with_names(path, entries, sorted(problems))
    seen: dict[str, str] = {}
    for entry, line in zip(entries, starts, strict=True):
        place = f"{path} line {line}"
        name, codes = _entry(entry, place)
        _problem(problems, name, place)
        if name in seen:
            raise ForeignSamplesError(f"{place}: question {name} is in {seen[name]} already")
        seen[name] = place
        for number, code in enumerate(codes):
            yield Answer(name, number, code if code.strip() else None)


def _with_names(path: Path, entries: list[Any], names: list[str]) -> list[Any]:
    """Without ids it is their order that tells the problems, so that none may be missing."""
    if len(entries) != len(names):
        raise ForeignSamplesError(
            f"{path}: {len(entries)} lists of programs without `question_id`, for {len(names)} problems: give a list "
            "for each, sorted by question_id, or objects with question_id and code_list"
        )
    return [{"question_id": name, "code_list": codes} for name, codes in zip(names, entries, strict=True)]


def _entry(entry: Any, place: str) -> tuple[str, list[str]]:
    name, codes = (entry.get("question_id"), entry.get("code_list")) if isinstance(entry, dict) else (None, None)
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise ForeignSamplesError(f"{place}: `question_id` is missing")
    if not isinstance(codes, list) or not codes or not all(isinstance(code, str) for code in codes):
        raise ForeignSamplesError(f"{place}: `code_list` of question {name} is not a list of programs")
    return str(name), codes


def _line_numbers(path: Path, text: str, num_entries: int) -> list[int]:
    """The line on which each entry of the list begins; refuses entries with a key twice."""
    decoder, lines = json.JSONDecoder(object_pairs_hook=object_of), []
    at, line, counted = text.index("[") + 1, 1, 0
    for _ in range(num_entries):
        while text[at] in " \t\r\n,":
            at += 1
        line, counted = line + text.count("\n", counted, at), at
        lines.append(line)
        try:
            at = decoder.raw_decode(text, at)[1]
        except RepeatedKeyError as error:
            raise ForeignSamplesError(f"{path} line {line}: {error}") from error
    return lines


def _problem(problems: Mapping[str, Problem], name: str, place: str) -> Problem:
    problem = problems.get(name)
    if problem is None:
        example = next(iter(problems))
        raise ForeignSamplesError(f"{place}: there is no problem {name!r} in the benchmark (one is {example!r})")
    return problem
