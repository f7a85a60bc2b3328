"""A run keeps to the commit that it began with, read through the hub's own client and cache, without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from forklock import recipes, running
from forklock.hub_commits import HubError, pin

FIRST, SECOND = "1" * 40, "2" * 40
NAME = "someone/tiny"


@pytest.fixture
def cached_model(tmp_path: Path, tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds two commits of a model, `main` at the first."""
    from huggingface_hub import constants

    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    repository = cache / "models--someone--tiny"
    for commit in (FIRST, SECOND):
        shutil.copytree(tiny_model("qwen3"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(FIRST)
    return repository


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    (tmp_path / "p.jsonl").write_text(json.dumps({"question": "Add two numbers."}) + "\n")
    path = tmp_path / "r.toml"
    path.write_text(
        f'extends = ["qwen3-4b-instruct"]\nname = "r"\nmodel.path = "{NAME}"\n'
        'prompts = {source = "jsonl", path = "p.jsonl"}\nengine.kind = "transformers"\n'
        "synthesize.max_sequence_tokens = 240\n"
    )
    return path


def commit_in(run_dir: Path) -> str:
    manifest = json.loads((run_dir / "synthesize" / "manifest.json").read_text())
    return manifest["config"]["model"]["revision"]


def test_a_run_keeps_its_commit_when_the_branch_moves(tmp_path: Path, cached_model: Path, recipe_file: Path) -> None:
    recipe = recipes.load([str(recipe_file)])
    running.run_until(recipe, tmp_path / "a", "synthesize")
    before = (tmp_path / "a" / "synthesize" / "manifest.json").read_bytes()
    assert commit_in(tmp_path / "a") == FIRST
    (cached_model / "refs" / "main").write_text(SECOND)
    running.run_until(recipe, tmp_path / "a", "synthesize")
    assert (tmp_path / "a" / "synthesize" / "manifest.json").read_bytes() == before
    assert [stage.state for stage in running.read_status(tmp_path / "a").stages[:2]] == ["done", "done"]
    running.run_until(recipe, tmp_path / "b", "synthesize")
    assert commit_in(tmp_path / "b") == SECOND


@pytest.mark.usefixtures("cached_model")
def test_what_the_hub_does_not_have_is_named(tmp_path: Path, recipe_file: Path) -> None:
    recipe = recipes.load([str(recipe_file)], ["model.path=someone/else"])
    said = r"model\.path = 'someone/else': neither a folder here nor a model .*[^.]\. Mend.*local-dir"
    with pytest.raises(HubError, match=said):
        running.run_until(recipe, tmp_path / "run", "synthesize")
    recipe = recipes.load([str(recipe_file)], ["prompts.source=huggingface", "prompts.path=someone/problems"])
    with pytest.raises(HubError, match=r"prompts\.path = 'someone/problems': neither a folder here nor a dataset"):
        running.run_until(recipe, tmp_path / "run", "synthesize")


def test_a_benchmark_keeps_its_commit_and_is_asked_for_only_by_evaluation(
    tmp_path: Path, cached_model: Path, recipe_file: Path
) -> None:
    repository = cached_model.parent / "datasets--openai--openai_humaneval"
    for commit in (FIRST, SECOND):
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "README.md").write_text("about")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(FIRST)
    recipe = recipes.load([str(recipe_file)], ['evaluate.benchmarks=["humaneval"]'])
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    assert pin(recipe, run_dir).evaluate.data_revisions == {}
    assert pin(recipe, run_dir, with_benchmarks=True).evaluate.data_revisions == {"humaneval": FIRST}
    (repository / "refs" / "main").write_text(SECOND)
    assert pin(recipe, run_dir).evaluate.data_revisions == {"humaneval": FIRST}
    other = recipes.load([str(recipe_file)], ['evaluate.benchmarks=["mbpp"]'])
    assert pin(other, run_dir).evaluate.data_revisions == {}
    with pytest.raises(HubError, match=r"evaluate\.data_paths\.mbpp = 'google-research-datasets/mbpp': neither"):
        pin(other, run_dir, with_benchmarks=True)
    local = recipes.load([str(recipe_file)], ['evaluate.benchmarks=["mbpp"]', 'evaluate.data_paths.mbpp="m.jsonl"'])
    assert pin(local, run_dir, with_benchmarks=True).evaluate.data_revisions == {}
