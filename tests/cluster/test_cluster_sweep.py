"""A sweep's stages on nodes of a cluster, two at a time, against one after another on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import losses
import pytest
from cluster_cases import lose_the_head
from raylets import Raylets
from sweep_cases import contents, scripted, sweep_recipe, use_fake_training

from forklock import stages
from forklock.cluster.errors import ClusterError
from forklock.config import Recipe, SweepConfig
from forklock.run_dir import read_events
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.sweep.conclude import conclude
from forklock.sweep.taking import run_sweep

TinyModel = Callable[[str], Path]


@pytest.fixture
def recipe(tiny_model: TinyModel, tmp_path: Path) -> Recipe:
    return sweep_recipe(tmp_path, scripted(tiny_model("qwen3"), tmp_path))


def sweep_alone(recipe: Recipe, run_dir: Path) -> None:
    replaced = use_fake_training()
    try:
        assert run_sweep(recipe, run_dir) == {}
    finally:
        stages.train.run = replaced
    conclude(recipe, run_dir)


def finished(run_dir: Path) -> list[str]:
    return sorted(event.stage or "" for event in read_events(run_dir) if event.event == "stage_finished")


@pytest.mark.slow
def test_a_node_lost_in_a_stage_costs_no_cell(
    recipe: Recipe, cluster: Raylets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_alone(recipe, tmp_path / "alone")

    from forklock.cluster import stages as tasks

    on_cluster = cluster.take(recipe)
    monkeypatch.setattr(tasks, "_take", losses.take_stage_and_lose_a_node)
    assert run_sweep(on_cluster, tmp_path / "cluster", num_parallel=2) == {}
    assert cluster.count_lost() == 1
    conclude(on_cluster, tmp_path / "cluster")
    assert contents(tmp_path / "cluster") == contents(tmp_path / "alone")
    assert finished(tmp_path / "cluster") == finished(tmp_path / "alone")


@pytest.mark.slow
def test_a_sweep_whose_head_was_lost_goes_on_with_what_it_has_on_another_cluster(
    recipe: Recipe, cluster: Raylets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = recipe.model_copy(update={"sweep": SweepConfig(train_temperatures=(0.7, 1.3), eval_temperatures=(1.0,))})
    sweep_alone(small, tmp_path / "alone")
    lose_the_head("sweep", small, tmp_path, "--parallel", "2")
    losses.wait_for_workers(tmp_path)
    kept = {manifest: manifest.stat().st_mtime_ns for manifest in (tmp_path / "run").rglob(MANIFEST_NAME)}
    assert {manifest.parent.name.partition("-")[0] for manifest in kept} >= {"prompts", "synthesize"}

    from forklock.cluster import stages as tasks

    on_cluster = cluster.take(small)
    monkeypatch.setattr(tasks, "_take", losses.take_stage)
    assert run_sweep(on_cluster, tmp_path / "run", num_parallel=2) == {}
    conclude(on_cluster, tmp_path / "run")
    assert contents(tmp_path / "run") == contents(tmp_path / "alone")
    assert kept == {manifest: manifest.stat().st_mtime_ns for manifest in kept}


def test_as_many_stages_as_fit_each_with_its_share(recipe: Recipe, ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from forklock.cluster import nodes
    from forklock.cluster.nodes import Fit, Node, fit_stages

    monkeypatch.setattr(nodes, "nodes", lambda: [Node("a", 16, 0), Node("b", 8, 0)])
    assert fit_stages(recipe, 2) == Fit(2, 8, 0)
    assert fit_stages(recipe, 6) == Fit(6, 4, 0)
    with pytest.raises(ClusterError, match="room for 24 stages at once, one CPU for each"):
        fit_stages(recipe, 25)
    monkeypatch.setattr(nodes, "nodes", lambda: [Node("a", 16, 8), Node("b", 12, 4), Node("c", 64, 1)])
    of_two = recipe.model_copy(update={"train": recipe.train.model_copy(update={"num_processes": 2})})
    assert fit_stages(of_two, 3) == Fit(3, 4, 2)
    with pytest.raises(ClusterError, match="room for 6 stages at once, 2 GPUs for each"):
        fit_stages(of_two, 7)
