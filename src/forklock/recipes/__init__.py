"""Recipes: TOML files composed left to right, and checked against `forklock.config` before anything is loaded.

A recipe may begin from others (`extends = ["qwen3-4b-instruct"]`: names of shipped recipes, or paths from its own
folder); files given later override earlier ones key by key, and `--set` overrides them all. The value "none" takes
a key away, so that its default holds again. A relative path is looked for beside the file that names it, then in the
working directory.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from forklock.config import Recipe
from forklock.model_path import with_packaged_model
from forklock.recipes.paths import found_path, is_path
from forklock.recipes.problems import Problem, RecipeError, problems_of, unknown_key

SHIPPED_FOLDER = Path(__file__).parent
Key = tuple[str, ...]


@dataclass
class _Layers:
    """The tables read so far, merged, and for each key the place that set it."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)

    def add(self, table: Mapping[str, Any], origin: str, folder: Path, prefix: Key = ()) -> None:
        for name, value in table.items():
            key = (*prefix, name)
            if isinstance(value, Mapping):
                if not value:
                    self._reach(key)
                self.origins[key] = origin
                self.add(value, origin, folder, key)
            elif value == "none":
                self._take_away(key, origin)
            else:
                self._reach(prefix)[name] = found_path(value, folder) if is_path(key) else value
                self.origins[key] = origin

    def _take_away(self, key: Key, origin: str) -> None:
        if (problem := unknown_key(key, origin)) is not None:
            raise RecipeError([problem])
        table: Any = self.values
        for name in key[:-1]:
            table = table.get(name, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict):
            table.pop(key[-1], None)

    def _reach(self, key: Key) -> dict[str, Any]:
        table = self.values
        for name in key:
            below = table.setdefault(name, {})
            if not isinstance(below, dict):
                below = table[name] = {}
            table = below
        return table

    def origin_of(self, key: Key) -> str | None:
        """The place that set this key or, failing that, the innermost table around it."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.origins:
                return self.origins[key[:length]]
        return None


def load(recipes: Sequence[str], overrides: Sequence[str] = ()) -> Recipe:
    """Compose shipped names or files with `key=value` overrides; raises RecipeError with every problem found."""
    layers = _Layers()
    for recipe in recipes:
        _add_file(layers, _locate(recipe, Path.cwd(), mentioned_in=None), seen=())
    for override in overrides:
        layers.add(_parse_override(override), f"--set {override}", Path.cwd())
    named_files = " + ".join([*recipes, *(f"--set {override}" for override in overrides)])
    try:
        return with_packaged_model(Recipe.model_validate_json(json.dumps(layers.values, default=str)))
    except ValidationError as error:
        raise RecipeError(problems_of(error, lambda key: layers.origin_of(key) or named_files)) from None


def to_toml(recipe: Recipe) -> str:
    """The recipe with every default spelled out; reading it back gives the same recipe."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def shipped() -> Iterator[tuple[str, Path]]:
    """Names and files of the recipes in this package (those that others begin from start with an underscore)."""
    for path in sorted(SHIPPED_FOLDER.glob("*.toml")):
        if not path.stem.startswith("_"):
            yield path.stem, path


def source_of(recipe: str) -> Path:
    """The file behind a shipped name or a path; raises RecipeError where there is none."""
    return _locate(recipe, Path.cwd(), mentioned_in=None)


def _add_file(layers: _Layers, path: Path, seen: tuple[Path, ...]) -> None:
    label = _label(path)
    if path in seen:
        raise RecipeError([Problem(label, "extends", "goes round in a circle")])
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError([Problem(label, "", f"not TOML: {error}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([Problem(label, "", f"cannot be read: {error}")]) from None
    parents = table.pop("extends", [])
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise RecipeError([Problem(label, "extends", 'must be a list of names, like ["qwen3-4b-instruct"]')])
    for parent in parents:
        _add_file(layers, _locate(parent, path.parent, mentioned_in=label), (*seen, path))
    layers.add(table, label, path.parent)


def _locate(recipe: str, folder: Path, mentioned_in: str | None) -> Path:
    if "/" not in recipe and not recipe.endswith(".toml"):
        path = SHIPPED_FOLDER / f"{recipe}.toml"
        if not path.is_file():
            names = [name for name, _ in shipped()]
            raise RecipeError([Problem.about_name(mentioned_in, recipe, names)])
        return path
    path = folder / recipe
    if not path.is_file():
        raise RecipeError([Problem(mentioned_in or recipe, "extends" if mentioned_in else "", f"no file {path}")])
    return path.resolve()


def _label(path: Path) -> str:
    return path.name if path.parent == SHIPPED_FOLDER else str(path)


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not key or not all(part.isidentifier() for part in key.replace("-", "_").split(".")):
        raise RecipeError([Problem(f"--set {override}", "", "must look like train.learning_rate=1e-5")])
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word: --set model.path=Qwen/Qwen3-4B-Instruct-2507
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)
