"""A figure's data as CSV: its numbers as they stand in the JSON that it was drawn from."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forklock.run_dir.atomic import storage_errors


def write_csv(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Nested names are joined by underscores; an undefined number is an empty field."""
    path = folder / f"{name}.csv"
    flat = [_flatten(row) for row in rows]
    with storage_errors(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(flat[0]) if flat else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    return path


def _flatten(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{inner}": number for inner, number in _flatten(value).items()}
        else:
            flat[name] = value
    return flat
