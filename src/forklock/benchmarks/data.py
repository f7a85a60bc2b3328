"""A benchmark's rows, from the hub or from a local file; read with what reads the prompts' sources."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from forklock.benchmarks.problem import Benchmark, BenchmarkError
from forklock.prompts import PromptsError
from forklock.prompts.hub import download, read_dataset
from forklock.prompts.rows import FORMATS, Row, read_file, read_jsonl
from forklock.prompts.sources import livecodebench_files


def rows_of(benchmark: Benchmark, local_path: str | None) -> Iterator[Row]:
    """Every row, streamed; faulty ones too."""
    try:
        yield from _rows_of(benchmark, local_path)
    except PromptsError as error:
        raise BenchmarkError(re.sub(r"prompts\.\w+", "evaluate.data_paths", str(error))) from error


def local_files(benchmark: Benchmark, local_path: str | None) -> dict[str, Path]:
    """Files that are read here, by a name for each; none where the data come from the hub."""
    if local_path is None:
        return {}
    path = Path(local_path).expanduser()
    if not path.exists():
        raise BenchmarkError(f"{path}: no such file or folder; see evaluate.data_paths")
    if not path.is_dir():
        if path.suffix not in FORMATS:
            raise BenchmarkError(f"{path}: must end in one of {', '.join(FORMATS)}; see evaluate.data_paths")
        return {path.name: path}
    if not benchmark.is_livecodebench:
        return {path.name: path}
    found = {file.name: file for file in sorted(path.glob("test*.jsonl"))}
    if not found:
        raise BenchmarkError(f"{path}: holds no test*.jsonl; see evaluate.data_paths")
    return found


def _rows_of(benchmark: Benchmark, local_path: str | None) -> Iterator[Row]:
    files = local_files(benchmark, local_path)
    if benchmark.is_livecodebench:
        downloads = (download(benchmark.source, name) for name in livecodebench_files(benchmark.source))
        return chain.from_iterable(read_jsonl(path) for path in files.values() or downloads)
    if not files and benchmark.source.is_made_here:
        from forklock.microworld.rows import evaluation_rows

        return evaluation_rows(benchmark.source.revision)
    if not files:
        return read_dataset(benchmark.source, benchmark.columns)
    [path] = files.values()
    if path.is_dir():
        return read_dataset(replace(benchmark.source, path=str(path)), benchmark.columns)
    return read_file(path, FORMATS[path.suffix], benchmark.columns)
