"""Training by Ray Train on several nodes, against processes of one machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from losses import train_and_lose_a_node
from raylets import Raylets
from safetensors.torch import load_file
from train_cases import make_recipe, make_sample, run_training

from forklock.run_dir import read_events

TinyModel = Callable[[str], Path]
SAMPLES = [make_sample(number) for number in range(40)]


def losses(folder: Path) -> list[float]:
    return [float(line.split(",")[1]) for line in (folder / "curve.csv").read_text().splitlines()[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["off", "fsdp2"])
def test_workers_of_a_cluster_train_as_processes_do(
    sharding: str, cluster: Raylets, tiny_model: TinyModel, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_model("qwen3"), sharding=sharding, num_processes=2, checkpoint_every_steps=2)
    alone = run_training(recipe, tmp_path / "alone", SAMPLES)

    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
    together = run_training(cluster.take(recipe), tmp_path / "cluster", SAMPLES)

    assert_same(alone, together)


@pytest.mark.slow
def test_a_node_lost_while_it_trains_changes_no_weight(
    cluster: Raylets, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_model("qwen3"), num_processes=2, checkpoint_every_steps=2)
    alone = run_training(recipe, tmp_path / "alone", SAMPLES)

    import ray

    from forklock.cluster import training

    ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
    train_on_cluster = training.TorchTrainer

    def losing(_: Any, **settings: Any) -> Any:
        return train_on_cluster(train_and_lose_a_node, **settings)

    monkeypatch.setattr(training, "TorchTrainer", losing)
    together = run_training(cluster.take(recipe), tmp_path / "cluster", SAMPLES)

    assert cluster.count_lost() == 1
    [trained] = [event for event in read_events(tmp_path / "cluster") if event.event == "trained"]
    assert trained.details["num_resumed_steps"] == 2
    assert_same(alone, together)


def assert_same(alone: Path, together: Path) -> None:
    """To the last bit."""
    assert losses(together) == losses(alone)
    for name in ("model", "checkpoint-000002"):
        expected, got = (load_file(folder / name / "model.safetensors") for folder in (alone, together))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert json.loads((together / "summary.json").read_text()) == json.loads((alone / "summary.json").read_text())
