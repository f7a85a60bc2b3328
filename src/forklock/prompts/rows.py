"""Rows of local files as they stand, one at a time, each with its place; a faulty row is a row too.

Text that is not UTF-8 comes with its bytes as lone surrogates: only who needs that field finds fault with it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from forklock.packages import load_package
from forklock.prompts.errors import PromptsError

ROWS_AT_ONCE = 1024
_LONGEST_CSV_FIELD = 2**31 - 1

FORMATS = {".jsonl": "jsonl", ".gz": "jsonl", ".parquet": "parquet", ".csv": "csv"}
"""Formats by the last suffix of a file's name."""


@dataclass(frozen=True, slots=True)
class Row:
    origin: str
    """The file or the dataset."""
    position: str
    """Line or row in it, counted from 1."""
    values: Mapping[str, object] = field(default_factory=dict)
    fault: str = ""
    """Why there are no values."""

    @property
    def place(self) -> str:
        return f"{self.origin} {self.position}"


class RepeatedKeyError(ValueError):
    """A JSON object has a key twice. Readers differ in which of the two they take."""


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json`, as its `object_pairs_hook`."""
    values = dict(pairs)
    if len(values) < len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise RepeatedKeyError(f"has `{key}` twice in one object; leave one of the two")
    return values


def read_file(path: Path, file_format: str, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of a JSON lines, Parquet or CSV file; of Parquet only `columns` are read from the disk."""
    match file_format:
        case "jsonl":
            yield from read_jsonl(path)
        case "parquet":
            with _reading(path), path.open("rb") as file:
                yield from read_parquet(file, str(path), columns)
        case "csv":
            yield from _read_csv(path, columns)
        case _:
            raise AssertionError(file_format)


def read_jsonl(path: Path) -> Iterator[Row]:
    """JSON lines, compressed by gzip where the name ends in .gz; blank lines are nothing."""
    with _reading(path), _open(path) as file:
        for number, line in _lines(path, file):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")
            if not text.strip():
                continue
            position = f"line {number}"
            try:
                values = json.loads(text, object_pairs_hook=object_of)
            except RepeatedKeyError as error:
                yield Row(str(path), position, fault=str(error))
                continue
            except json.JSONDecodeError as error:
                yield Row(str(path), position, fault=f"is not JSON ({error.msg}, character {error.pos + 1})")
                continue
            except (ValueError, RecursionError) as error:
                yield Row(str(path), position, fault=f"is not JSON ({error})")
                continue
            if isinstance(values, dict):
                yield Row(str(path), position, values)
            else:
                yield Row(str(path), position, fault=f"is a JSON {type(values).__name__}, not an object")


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The first line names the columns. A row's place is the line it begins on."""
    csv.field_size_limit(_LONGEST_CSV_FIELD)  # statements are longer than the module's 128 KiB
    with _reading(path), path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise PromptsError(f"{path} line 1: is not CSV ({error}); mend the line of column names") from error
        require_columns(columns, header, str(path))
        while True:
            position = f"line {reader.line_num + 1}"
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(str(path), position, fault=f"is not CSV ({error})")
                continue
            if len(fields) == len(header):
                yield Row(str(path), position, dict(zip(header, fields, strict=True)))
            elif fields:
                fault = f"has {len(fields)} fields, and there are {len(header)} columns"
                yield Row(str(path), position, fault=fault)


def read_parquet(file: BinaryIO, origin: str, columns: Sequence[str]) -> Iterator[Row]:
    """Rows of an open file, local or remote. Other columns than those named are not fetched."""
    pyarrow, parquet = load_package("pyarrow"), load_package("pyarrow.parquet")
    try:
        with parquet.ParquetFile(file) as reader:
            require_columns(columns, reader.schema_arrow.names, origin)
            batches = reader.iter_batches(ROWS_AT_ONCE, columns=list(columns), use_threads=False)
            yield from rows_of_tables(batches, origin)
    except pyarrow.ArrowException as error:
        raise PromptsError(f"{origin}: cannot be read as Parquet: {error}; make or download it again") from error


def rows_of_tables(tables: Iterable[Any], origin: str) -> Iterator[Row]:
    """Rows of Arrow tables or record batches, numbered through."""
    number = 0
    for table in tables:
        values = [_values(table.column(name)) for name in table.schema.names]
        for row in zip(*values, strict=True):
            number += 1
            yield Row(origin, f"row {number}", dict(zip(table.schema.names, row, strict=True)))


def require_columns(wanted: Sequence[str], present: Sequence[str], origin: str) -> None:
    for name in wanted:
        if name not in present:
            raise PromptsError(
                f"{origin}: has no column `{name}`, only {', '.join(present) or 'none'}; set prompts.columns"
            )


def _values(column: Any) -> list[object]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return bytes(scalar.as_buffer()).decode("utf-8", "surrogateescape")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Numbered. Of a compressed file that was cut short, the line is named up to which it can be read."""
    number = 0
    try:
        for number, line in enumerate(file, start=1):
            yield number, line
    except (EOFError, zlib.error) as error:
        raise PromptsError(f"{path} line {number + 1}: cannot be read: {error}; see prompts.path") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise PromptsError(f"{path}: cannot be read: {reason}; see prompts.path") from error
