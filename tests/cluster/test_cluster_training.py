"""Training by Ray Train on several nodes, against processes of one machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_cases import assert_same_training, lose_the_head, recipe_for
from losses import train_and_lose_a_node
from raylets import Raylets
from train_cases import make_recipe, make_sample, run_training

from forklock import running
from forklock.run_dir import read_events
from forklock.run_dir.manifest import MANIFEST_NAME

TinyModel = Callable[[str], Path]
SAMPLES = [make_sample(number) for number in range(40)]


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

    assert_same_training(alone, together)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["off", "fsdp2"])
def test_a_node_lost_while_it_trains_changes_no_weight(
    sharding: str, cluster: Raylets, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(tiny_model("qwen3"), sharding=sharding, num_processes=2, checkpoint_every_steps=2)
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
    assert_same_training(alone, together)


@pytest.mark.slow
def test_a_training_whose_head_was_lost_goes_on_from_its_checkpoint_on_another_cluster(
    cluster: Raylets, tiny_model: TinyModel, tmp_path: Path
) -> None:
    train = {"steps": 4, "global_batch_size": 4, "dtype": "float32", "checkpoint_every_steps": 2}
    recipe = recipe_for(tmp_path, tiny_model("qwen3"), train=train, prompts__limit=10)
    running.run_until(recipe, tmp_path / "alone", "synthesize")
    shutil.copytree(tmp_path / "alone", tmp_path / "run")
    running.run_until(recipe, tmp_path / "alone", "train")

    lose_the_head("train", recipe, tmp_path)
    assert not (tmp_path / "run" / "train" / MANIFEST_NAME).exists()
    running.run_until(cluster.take(recipe, num_training_workers=1), tmp_path / "run", "train")

    [trained] = [event for event in read_events(tmp_path / "run") if event.event == "trained"]
    assert trained.details["num_resumed_steps"] == 2
    assert_same_training(tmp_path / "alone" / "train", tmp_path / "run" / "train")
