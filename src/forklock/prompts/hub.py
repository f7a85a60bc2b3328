"""Datasets of the Hugging Face hub, and folders laid out like them, streamed: never whole in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock.packages import load_package
from forklock.prompts.errors import PromptsError
from forklock.prompts.rows import ROWS_AT_ONCE, Row, read_parquet, require_columns, rows_of_tables

if TYPE_CHECKING:
    from forklock.prompts.sources import Source


def read_dataset(source: Source, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of one split. Of Parquet, which most of the hub is, only `columns` are fetched."""
    datasets, pyarrow = load_package("datasets"), load_package("pyarrow")
    try:
        builder = datasets.load_dataset_builder(source.path, revision=source.revision, **_subset(source))
        files = {str(split): list(names) for split, names in (builder.config.data_files or {}).items()}
        names = files.get(source.split, [])
        if names and all(name.endswith(".parquet") for name in names):
            # Not as a stream: that reader aborts the process at exit now and then (apache/arrow issue 45214).
            for name in names:
                file_system, path = load_package("fsspec").url_to_fs(name)
                with file_system.open(path, "rb", cache_type="none") as file:  # fetch the columns, nothing around
                    yield from read_parquet(file, name, columns)
            return
        stream = builder.as_streaming_dataset(split=source.split)
        yield from rows_of_tables(_only(columns, stream, source.path), f"{source.path} ({source.split})")
    except PromptsError:
        raise
    except (OSError, ValueError, datasets.exceptions.DatasetsError, pyarrow.ArrowException) as error:
        raise _cannot_be_loaded(source, error) from error


def download(source: Source, file_name: str) -> Path:
    """One file of a dataset, kept in the hub's cache."""
    hub = load_package("huggingface_hub")
    try:
        path = hub.hf_hub_download(source.path, file_name, repo_type="dataset", revision=source.revision)
    except (OSError, ValueError) as error:
        raise _cannot_be_loaded(source, error) from error
    return Path(path)


def _subset(source: Source) -> dict[str, str | None]:
    """A folder without a dataset card has no named subsets: the folder of that name, or else all of it."""
    folder = Path(source.path)
    if not folder.is_dir() or (folder / "README.md").is_file():
        return {"name": source.subset}
    return {"data_dir": source.subset} if source.subset and (folder / source.subset).is_dir() else {}


def _only(columns: Sequence[str], stream: Any, origin: str) -> Iterator[Any]:
    for table in stream.with_format("arrow").iter(ROWS_AT_ONCE):
        require_columns(columns, table.column_names, origin)
        yield table.select(list(columns))


def _cannot_be_loaded(source: Source, error: Exception) -> PromptsError:
    reason = " ".join(str(error).split())
    if Path(source.path).exists():
        return PromptsError(f"{source.path}: cannot be loaded: {reason}; see prompts.path, subset and split")
    include = f" --include '{source.files}'" if source.files else ""
    return PromptsError(
        f"{source.path}: is not a path here, and cannot be loaded from the Hugging Face hub: {reason}. Without "
        f"a network: run `hf download {source.path} --repo-type dataset{include} --local-dir DIR` where there is "
        'one, and set prompts.path = "DIR"'
    )
