"""Where a recipe's model is: a folder, a name on the hub, or a base that comes with forklock."""

from __future__ import annotations

from pathlib import Path

from forklock.config import ModelConfig, Recipe
from forklock.errors import ForklockError


class ModelPathError(ForklockError):
    """`model.path` names a folder that is not there."""


MICROWORLD = "microworld"


def with_packaged_model(recipe: Recipe) -> Recipe:
    """`model.path = "microworld"` becomes the folder of the base that `microworld.base` names: from there on it is a
    model like any other."""
    if recipe.model.path != MICROWORLD:
        return recipe
    from forklock.microworld.settings import base_folder

    folder = str(base_folder(recipe.microworld.base))
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"path": folder})})


def local_folder(path: str) -> Path | None:
    """The folder that `model.path` means, there or not; None for a name on the hub."""
    looks_local = path.startswith(("/", ".")) or path.count("/") > 1
    return Path(path) if looks_local or Path(path).is_dir() else None


def check_model_path(path: str) -> None:
    """Refuse a misspelt folder before the hub does, whose own words for it are about access tokens."""
    folder = local_folder(path)
    if folder is not None and not folder.is_dir():
        raise ModelPathError(
            f"model.path = {path!r}: there is no such folder; name one that is there, or owner/name on the hub"
        )


def identity(model: ModelConfig, *, is_made_by_run: bool = False) -> dict[str, object]:
    """Which of its settings decide results. A model in a folder counts by its content, not by where it lies."""
    is_folder = is_made_by_run or local_folder(model.path) is not None
    settings: dict[str, object] = model.model_dump(mode="json", exclude={"path", "revision"} if is_folder else set())
    return settings
