"""Paths in recipes: found from the recipe's own folder, so that a recipe works from any working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_PATHS = {("model", "path"), ("prompts", "path"), ("prompts", "template"), ("analyze", "contexts")}
_TABLES_OF_PATHS = {("evaluate", "data_paths")}
_FILE_SUFFIXES = (".jsonl", ".gz", ".parquet", ".csv", ".json", ".jinja")


def is_path(key: tuple[str, ...]) -> bool:
    """Whether a key holds a path, or a name on the hub in its place."""
    return key in _PATHS or key[:-1] in _TABLES_OF_PATHS


def found_path(value: Any, folder: Path) -> Any:
    """An absolute path where something is there, or where nothing but a path can be meant; else the value itself.

    `folder` is that of the file which holds the value.
    """
    if not isinstance(value, str) or not value:
        return value
    path = Path(value).expanduser()
    for base in (folder, Path.cwd()):
        if (base / path).exists():
            return str((base / path).resolve())
    is_surely_a_path = value.startswith(("/", "./", "../", "~")) or value.endswith(_FILE_SUFFIXES)
    return str((folder / path).absolute()) if is_surely_a_path else value
