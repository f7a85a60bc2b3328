"""Models and datasets of the hub, held to the commit that a run began with.

A branch moves, and a run may take weeks: its folder remembers what each name meant at first, in hub_commits.json.
Later calls take that commit, also where the hub is out of reach. Another folder begins with what is there by then.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from forklock.benchmarks import BENCHMARKS
from forklock.config import Recipe
from forklock.errors import ForklockError
from forklock.model_path import local_folder
from forklock.packages import load_package
from forklock.prompts import hub_dataset
from forklock.run_dir import write_text

HUB_COMMITS_FILE = "hub_commits.json"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ANY_FILE = {"model": "config.json", "dataset": "README.md"}
"""Fetched to see which commit it comes from."""

Kind = Literal["model", "dataset"]


class HubError(ForklockError):
    """The hub does not give what a recipe names."""


def pin(recipe: Recipe, run_dir: Path, *, with_benchmarks: bool = False) -> Recipe:
    """The recipe with a commit as the revision of everything that comes from the hub.

    Benchmarks keep the commit that an earlier call asked for; they are asked for only by those who need them.
    """
    commits = _Commits(run_dir / HUB_COMMITS_FILE)
    changes: dict[str, object] = {}
    if local_folder(recipe.model.path) is None:
        commit = commits.of("model", recipe.model.path, recipe.model.revision, "model.path")
        changes["model"] = recipe.model.model_copy(update={"revision": commit})
    if (name := hub_dataset(recipe.prompts)) is not None:
        commit = commits.of("dataset", name, recipe.prompts.revision, "prompts.path")
        changes["prompts"] = recipe.prompts.model_copy(update={"revision": commit})
    revisions = dict(recipe.evaluate.data_revisions)
    for benchmark in recipe.evaluate.benchmarks:
        source = BENCHMARKS[benchmark].source
        if source.is_made_here:
            continue
        name, revision = source.path, revisions.get(benchmark)
        is_wanted = with_benchmarks or commits.is_known("dataset", name, revision)
        if benchmark not in recipe.evaluate.data_paths and is_wanted:
            revisions[benchmark] = commits.of("dataset", name, revision, f"evaluate.data_paths.{benchmark}")
    changes["evaluate"] = recipe.evaluate.model_copy(update={"data_revisions": revisions})
    return recipe.model_copy(update=changes)


class _Commits:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def is_known(self, kind: Kind, name: str, revision: str | None) -> bool:
        return f"{kind} {name} {revision or 'main'}" in self._known

    def of(self, kind: Kind, name: str, revision: str | None, setting: str) -> str:
        """`setting` is the recipe's key that would name a local copy."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        key = f"{kind} {name} {revision or 'main'}"
        if key not in self._known:
            self._known[key] = _resolve(kind, name, revision, setting)
            write_text(self._path, json.dumps(self._known, indent=1, sort_keys=True) + "\n")
        return self._known[key]


def _resolve(kind: Kind, name: str, revision: str | None, setting: str) -> str:
    hub = load_package("huggingface_hub")
    try:
        folder = hub.snapshot_download(name, repo_type=kind, revision=revision, allow_patterns=[_ANY_FILE[kind]])
    except (OSError, ValueError) as error:
        option = "" if kind == "model" else " --repo-type dataset"
        reason = " ".join(str(error).split()).rstrip(".")
        raise HubError(
            f"{setting} = {name!r}: neither a folder here nor a {kind} that the hub gives: "
            f"{reason}. Mend the name or the network; or run `hf download {name}{option} "
            f'--local-dir DIR` where there is one, and set {setting} = "DIR"'
        ) from error
    return Path(folder).name
