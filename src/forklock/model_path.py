"""Where a recipe's model is: a folder, or a name on the hub."""

from __future__ import annotations

from pathlib import Path

from forklock.errors import ForklockError


class ModelPathError(ForklockError):
    """`model.path` names a folder that is not there."""


def local_folder(path: str) -> Path | None:
    """The folder that `model.path` means, there or not; None for a name on the hub."""
    looks_local = path.startswith(("/", ".")) or path.count("/") > 1
    return Path(path) if looks_local or Path(path).is_dir() else None


def check_model_path(path: str) -> None:
    """Refuse a misspelt folder before the hub does, whose own words for it are about access tokens."""
    folder = local_folder(path)
    if folder is not None and not folder.is_dir():
        raise ModelPathError(f"model.path = {path!r}: there is no such folder")
