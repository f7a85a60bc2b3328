"""Reaching a cluster, and losing its head."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import losses
import pytest
from cluster_cases import by_key, recipe_for
from raylets import Raylets, raylets
from sweep_cases import scripted, sweep_recipe

from forklock import recipes, running
from forklock.config import Recipe
from forklock.engines import STRICT_GROUP
from forklock.engines.fake_engine import SCRIPT_FILE
from forklock.errors import ForklockError
from forklock.run_dir import write_text

TinyModel = Callable[[str], Path]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "nothing answers there"),
        ("ray://127.0.0.1:1", "the command line takes such an address"),
        ("somewhere", "is neither"),
        ("host:port", "is neither"),
    ],
)
def test_an_address_where_no_cluster_is_makes_no_run_folder(address: str, said: str, ray: None, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, tmp_path, cluster__address=address)
    with pytest.raises(ForklockError, match=said):
        running.run_until(recipe, tmp_path / "run", "synthesize")
    assert not (tmp_path / "run").exists()


def test_without_a_cluster_ray_is_not_imported_and_with_one_it_is_asked_for(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    """Here Ray is a package that says so when it is imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "ray.py").write_text("raise ImportError('No module named ray')\n")
    model = shutil.copytree(tiny_model("qwen3"), tmp_path / "model")
    (model / SCRIPT_FILE).write_text(json.dumps({"completions": [[5, 6, 2]]}))
    recipe = recipe_for(tmp_path, model, engine={"kind": "fake"})
    (tmp_path / "recipe.toml").write_text(recipes.to_toml(recipe))
    path = os.pathsep.join([str(tmp_path / "modules"), *sys.path])

    def synthesize(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "forklock", "synthesize", str(tmp_path / "recipe.toml"), "--json"]
        command += ["--run-dir", str(tmp_path / "run"), *options]
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    refused = synthesize("--cluster", "auto")
    assert refused.returncode == 1
    assert "pip install 'forklock[cluster]'" in json.loads(refused.stdout)["error"]
    assert not (tmp_path / "run").exists()
    assert synthesize().returncode == 0


@pytest.mark.slow
def test_a_token_that_is_not_the_cluster_s_is_said(cluster: Raylets, tiny_model: TinyModel, tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, tiny_model("qwen3"))
    other = {"RAY_AUTH_TOKEN": "fedcba9876543210" * 4, "RAY_NUM_REDIS_GET_RETRIES": "1"}
    done = command("synthesize", write_recipe(tmp_path, cluster.take(recipe)), **other)
    assert done.returncode == 1
    assert "RAY_AUTH_TOKEN" in json.loads(done.stdout)["error"]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_lost_head_is_said_and_the_run_folder_goes_on_without_it_or_on_another_cluster(
    cluster: Raylets, tiny_model: TinyModel, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model("qwen3"), tmp_path / "model")
    recipe = recipe_for(tmp_path, model)
    running.run_until(recipe, tmp_path / "alone", "synthesize")
    lose_the_head("synthesize", recipe, tmp_path)
    kept = by_key(tmp_path / "run")
    assert len(kept) == STRICT_GROUP

    shutil.copytree(tmp_path / "run", tmp_path / "moved")
    running.run_until(recipe, tmp_path / "run", "synthesize")
    running.run_until(cluster.take(recipe), tmp_path / "moved", "synthesize")
    alone = by_key(tmp_path / "alone")
    for folder in ("run", "moved"):
        together = by_key(tmp_path / folder)
        assert {key: sample.token_ids for key, sample in alone.items()} == {
            key: sample.token_ids for key, sample in together.items()
        }
        assert kept.items() <= together.items()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "sweep"])
def test_a_head_lost_while_a_worker_works_is_said(name: str, ray: None, tiny_model: TinyModel, tmp_path: Path) -> None:
    lose_the_head(name, sweep_recipe(tmp_path, scripted(tiny_model("qwen3"), tmp_path)), tmp_path)


def lose_the_head(name: str, recipe: Recipe, folder: Path) -> None:
    with raylets() as other:
        other.fill(1)
        (folder / "head").write_text(" ".join(map(str, other.head_processes())))
        options = ["--parallel", "2"] if name == "sweep" else []
        done = command(name, write_recipe(folder, other.take(recipe)), *options)
    assert done.returncode == 1, done.stderr
    assert "the cluster's head cannot be reached any more" in json.loads(done.stdout)["error"]


def write_recipe(folder: Path, recipe: Recipe) -> Path:
    write_text(folder / "recipe.toml", recipes.to_toml(recipe))
    return folder / "recipe.toml"


def command(name: str, recipe_file: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    run_dir = str(recipe_file.parent / "run")
    return subprocess.run(
        [sys.executable, losses.__file__, name, str(recipe_file), "--run-dir", run_dir, "--json", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
