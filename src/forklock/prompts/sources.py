"""The sources that a recipe can name, and where each one's rows come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from forklock.config import ColumnsConfig, PromptsConfig
from forklock.prompts.errors import PromptsError
from forklock.prompts.hub import download, read_dataset
from forklock.prompts.records import Form
from forklock.prompts.rows import FORMATS, Row, read_file, read_jsonl

_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_RELEASE = re.compile(r"release_v(?P<upto>[1-6])|v(?P<first>[1-6])(_v(?P<last>[1-6]))?")


@dataclass(frozen=True)
class Source:
    """A dataset: where it is, and which of its columns make a prompt. No other column is ever looked at."""

    path: str
    columns: ColumnsConfig
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    form: Form | None = None
    """Absent: a function where there is starter code, else a program."""
    files: str = ""
    """What to download of it by hand; empty: everything."""
    is_made_here: bool = False
    """The microworld: drawn by its revision, which is a seed."""

    @property
    def column_names(self) -> list[str]:
        columns = self.columns
        return [name for name in (columns.statement, columns.starter_code, columns.id) if name is not None]


KNOWN_SOURCES = {
    "microworld": Source(
        "microworld", ColumnsConfig(statement="question", id="id"), form="function", is_made_here=True
    ),
    "rstar-coder": Source(
        "microsoft/rStar-Coder",
        ColumnsConfig(statement="question", starter_code="starter_code"),
        subset="seed_sft",
        files="seed_sft/*",
    ),
    "livecodebench": Source(
        "livecodebench/code_generation_lite",
        ColumnsConfig(statement="question_content", starter_code="starter_code", id="question_id"),
        subset="release_v6",
        split="test",
        files="test*.jsonl",
    ),
    "humaneval": Source(
        "openai/openai_humaneval",
        ColumnsConfig(statement="prompt", id="task_id"),
        subset="openai_humaneval",
        split="test",
        form="completion",
    ),
    "mbpp": Source(
        "google-research-datasets/mbpp",
        ColumnsConfig(statement="text", id="task_id"),
        subset="full",
        form="function",
    ),
}


def resolve(config: PromptsConfig) -> Source:
    """The recipe's settings over those that a known dataset has."""
    source = KNOWN_SOURCES.get(config.source) or Source(config.path or "", config.columns)
    if config.source == "mbpp" and config.subset == "sanitized":
        source = replace(source, columns=ColumnsConfig(statement="prompt", id="task_id"))
    return replace(
        source,
        path=config.path or source.path,
        subset=config.subset or source.subset,
        split=config.split or source.split,
        revision=config.revision,
    )


def open_rows(config: PromptsConfig) -> Iterator[Row]:
    """Every row of the source, streamed, in its order."""
    source = resolve(config)
    if source.is_made_here:
        from forklock.microworld.rows import prompt_rows

        return prompt_rows(source.revision, config.limit)
    local = input_files(config)
    path = Path(source.path)
    if config.source == "livecodebench" and not path.is_file():
        names = livecodebench_files(source)
        return chain.from_iterable(read_jsonl(local.get(name) or download(source, name)) for name in names)
    if local and not path.exists():
        raise PromptsError(f"{path}: no such file or folder; see prompts.path")
    if local and not path.is_dir():
        return read_file(path, _format(config, path), source.column_names)
    return read_dataset(source, source.column_names)


def input_files(config: PromptsConfig) -> dict[str, Path]:
    """Local files or folders that the source reads, there or not, named as inputs of a stage; none of the hub's."""
    source = resolve(config)
    if source.is_made_here or hub_dataset(config) is not None:
        return {}
    path = Path(source.path)
    if path.is_dir() and config.source == "livecodebench":
        return {name: path / name for name in livecodebench_files(source)}
    return {"prompts.path": path}


def hub_dataset(config: PromptsConfig) -> str | None:
    """The name of the dataset on the hub that the source reads; None where it reads local files."""
    source = resolve(config)
    if source.is_made_here:
        return None
    name = source.path
    is_file = config.source in FORMATS.values() or Path(name).suffix in FORMATS
    is_local = is_file or Path(name).exists() or not _HUB_NAME.fullmatch(name)
    return None if is_local else name


def _format(config: PromptsConfig, path: Path) -> str:
    file_format = config.source if config.source in FORMATS.values() else FORMATS.get(path.suffix)
    if file_format is None:
        raise PromptsError(f"{path}: must end in one of {', '.join(FORMATS)}, or be a folder; see prompts.path")
    return file_format


def livecodebench_files(source: Source) -> list[str]:
    """Its releases by their own names: `release_v6` is all files up to the sixth, `v6` that one, `v5_v6` a range.

    They are read as files, since `datasets` no longer runs the script that comes with them.
    """
    found = _RELEASE.fullmatch(source.subset or "")
    if found is None:
        raise PromptsError(
            f"prompts.subset: {source.subset!r} is no release of LiveCodeBench; they are called release_v1 to "
            "release_v6 (all up to there), v1 to v6 (one alone) and v5_v6 (a range)"
        )
    first = int(found["first"] or 1)
    last = int(found["upto"] or found["last"] or first)
    return [f"test{number if number > 1 else ''}.jsonl" for number in range(first, last + 1)]
