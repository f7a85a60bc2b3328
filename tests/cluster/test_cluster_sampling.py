"""Samples drawn by engines on several nodes, against those of one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_cases import NUM_PROMPTS, NUM_SAMPLES, by_key, recipe_for

from forklock import running
from forklock.config import ClusterConfig, Recipe
from forklock.engines import STRICT_GROUP

TinyModel = Callable[[str], Path]
StartCluster = Callable[..., Any]


def on(cluster: Any, recipe: Recipe, **settings: Any) -> Recipe:
    return recipe.model_copy(update={"cluster": ClusterConfig(address=cluster.address, **settings)})


@pytest.mark.slow
def test_a_cluster_draws_the_rows_of_one_process_and_a_lost_node_costs_none(
    start_cluster: StartCluster, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(tmp_path, tiny_model("qwen3"), synthesize__record_target=True)
    running.run_until(recipe, tmp_path / "alone", "synthesize")

    from forklock.cluster.sampling import ClusterEngine

    cluster = start_cluster(1, 1)
    told: list[str] = []
    checked = ClusterEngine._checked

    def check_and_kill(engine: ClusterEngine, result: Any) -> Any:
        told.append(result.node_id)
        if len(told) == 2:  # that node has its next group at work
            cluster.remove_node(node_of(cluster, result.node_id), allow_graceful=False)
        return checked(engine, result)

    monkeypatch.setattr(ClusterEngine, "_checked", check_and_kill)
    running.run_until(on(cluster, recipe), tmp_path / "cluster", "synthesize")

    assert len(told) == -(-NUM_PROMPTS * NUM_SAMPLES // STRICT_GROUP)
    assert told[-1] != told[1]
    alone, together = by_key(tmp_path / "alone"), by_key(tmp_path / "cluster")
    assert alone.keys() == together.keys()
    for key, sample in alone.items():
        assert rows(sample) == rows(together[key])


def node_of(cluster: Any, node_id: str) -> Any:
    return next(node for node in cluster.worker_nodes if node.node_id == node_id)


def rows(sample: Any) -> Any:
    from forklock.sampling.sample import _row

    return {name: list(value) if hasattr(value, "tolist") else value for name, value in _row(sample).items()}
