"""Reaching a cluster, and losing its head."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_cases import by_key, command, lose_the_head, recipe_for, write_recipe
from raylets import Raylets

from forklock import recipes, running
from forklock.engines import STRICT_GROUP
from forklock.engines.fake_engine import SCRIPT_FILE
from forklock.errors import ForklockError

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
