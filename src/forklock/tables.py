"""Rows in Parquet files that carry the kind and the version of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forklock.errors import ForklockError
from forklock.packages import load_package

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_ROWS_PER_GROUP = 4096


class TableError(ForklockError):
    """A file that does not hold what it should, in the version that this forklock reads."""


@dataclass(frozen=True)
class RowFormat:
    """One kind of row. A higher version goes with every change of a column or of what it means."""

    kind: str
    """In the plural, such as `samples`."""
    version: int
    fields: Callable[[], list[pyarrow.Field]]
    mend: str
    """What to do about a file that cannot be read."""

    def write(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """The same rows give the same bytes, under one version of pyarrow."""
        self._write(path, load_package("pyarrow").Table.from_pylist(rows, schema=self._schema()))

    def write_columns(self, path: Path, columns: Mapping[str, Any]) -> None:
        """The same for rows that lie in arrays or lists, one a column: no object is made for each of them."""
        assert set(columns) == set(self._schema().names)
        self._write(path, load_package("pyarrow").Table.from_pydict(columns, schema=self._schema()))

    def _write(self, path: Path, table: pyarrow.Table) -> None:
        parquet = load_package("pyarrow.parquet")
        parquet.write_table(table, path, compression="zstd", row_group_size=_ROWS_PER_GROUP)

    def open(self, path: Path) -> pyarrow.parquet.ParquetFile:
        """For reading; refuses other kinds and versions, and files that were cut short."""
        pyarrow, parquet = load_package("pyarrow"), load_package("pyarrow.parquet")
        try:
            file = parquet.ParquetFile(path)
        except (OSError, pyarrow.ArrowException) as error:
            raise TableError(f"{path}: cannot be read as {self.kind}: {error}; {self.mend}") from error
        found = file.schema_arrow
        version = (found.metadata or {}).get(self._key())
        if version is None:
            raise TableError(f"{path}: does not hold {self.kind} that forklock wrote; {self.mend}")
        if version != str(self.version).encode() or not found.equals(self._schema()):
            raise TableError(
                f"{path}: holds {self.kind} of version {version.decode(errors='replace')} ({', '.join(found.names)}), "
                f"and this forklock reads version {self.version} ({', '.join(self._schema().names)}); {self.mend}, or "
                "use the version of forklock that wrote it"
            )
        return file

    def _key(self) -> bytes:
        return f"forklock.{self.kind}.version".encode()

    def _schema(self) -> pyarrow.Schema:
        schema: pyarrow.Schema = load_package("pyarrow").schema(
            self.fields(), metadata={self._key(): str(self.version)}
        )
        return schema
