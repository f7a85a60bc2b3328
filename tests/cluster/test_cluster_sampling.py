"""Samples drawn by engines on several nodes, against those of one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_cases import NUM_PROMPTS, NUM_SAMPLES, by_key, recipe_for
from raylets import Raylets

from forklock import running
from forklock.cluster.errors import ClusterError
from forklock.engines import STRICT_GROUP, EngineError
from forklock.engines.fake_engine import SCRIPT_FILE

TinyModel = Callable[[str], Path]


@pytest.mark.slow
def test_a_cluster_draws_the_rows_of_one_process_and_a_lost_node_costs_none(
    cluster: Raylets, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(tiny_model("qwen3"), tmp_path / "model")
    recipe = recipe_for(tmp_path, model, synthesize__record_target=True)
    running.run_until(recipe, tmp_path / "alone", "synthesize")

    import losing_engines

    from forklock.cluster import sampling

    told: list[str] = []
    checked = sampling.ClusterEngine._checked

    def check_and_note(engine: sampling.ClusterEngine, result: Any) -> Any:
        told.append(result.node_id)
        return checked(engine, result)

    monkeypatch.setattr(sampling, "EngineActor", losing_engines.LosingEngine)
    monkeypatch.setattr(sampling.ClusterEngine, "_checked", check_and_note)
    running.run_until(cluster.take(recipe), tmp_path / "cluster", "synthesize")

    assert cluster.count_lost() == 1
    assert len(told) == -(-NUM_PROMPTS * NUM_SAMPLES // STRICT_GROUP)
    alone, together = by_key(tmp_path / "alone"), by_key(tmp_path / "cluster")
    assert alone.keys() == together.keys()
    for key, sample in alone.items():
        assert rows(sample) == rows(together[key])


def rows(sample: Any) -> Any:
    from forklock.sampling.sample import _row

    return {name: list(value) if hasattr(value, "tolist") else value for name, value in _row(sample).items()}


@pytest.mark.slow
def test_what_ails_an_engine_is_said_and_the_same_command_goes_on_when_it_is_mended(
    cluster: Raylets, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster is found by `auto`, as on a machine of it, and a copy of the run folder kept behind a URL."""
    model = shutil.copytree(tiny_model("qwen3"), tmp_path / "model")
    alone = recipe_for(tmp_path, model, engine={"kind": "fake"}, prompts__limit=30)
    cluster_settings = {"address": "auto", "storage": (tmp_path / "copy").as_uri()}
    recipe = recipe_for(tmp_path, model, engine={"kind": "fake"}, prompts__limit=30, cluster=cluster_settings)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with pytest.raises(EngineError, match=rf"on node .* \(.{{8}}\): .*{SCRIPT_FILE}: no such file"):
        running.run_until(recipe, tmp_path / "run", "synthesize")

    (model / SCRIPT_FILE).write_text(json.dumps({"completions": [[5, 6, 2], [7, 2]]}))
    import losing_engines

    from forklock.cluster import sampling

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "EngineActor", losing_engines.DyingEngine)
        patch.setattr(sampling, "MAX_RESTARTS", 1)
        with pytest.raises(ClusterError, match="died"):
            running.run_until(recipe, tmp_path / "run", "synthesize")

    running.run_until(recipe, tmp_path / "run", "synthesize")
    running.run_until(alone, tmp_path / "alone", "synthesize")
    assert by_key(tmp_path / "run") == by_key(tmp_path / "copy") == by_key(tmp_path / "alone")
    assert cluster.count_lost() == 0
