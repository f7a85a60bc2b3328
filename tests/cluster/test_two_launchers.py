"""The commands of docs/cluster.md for two nodes without Ray: a torchrun on each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cluster_cases import recipe_for
from raylets import SETTINGS
from safetensors.torch import load_file

from forklock import recipes, running

TinyModel = Callable[[str], Path]


@pytest.mark.slow
def test_a_torchrun_on_each_of_two_nodes_trains_what_two_processes_do(tiny_model: TinyModel, tmp_path: Path) -> None:
    train = {"steps": 2, "global_batch_size": 8, "dtype": "float32", "num_processes": 2, "sharding": "fsdp2"}
    recipe = recipe_for(tmp_path, tiny_model("qwen3"), train=train, prompts__limit=20)
    (tmp_path / "recipe.toml").write_text(recipes.to_toml(recipe))
    running.run_until(recipe, tmp_path / "alone", "train")
    running.run_until(recipe, tmp_path / "run", "synthesize")

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", port]
    command = ["-m", "forklock", "train", str(tmp_path / "recipe.toml"), "--run-dir", str(tmp_path / "run")]
    nodes = [
        subprocess.Popen([*launcher, "--node-rank", str(number), *command], env=os.environ | SETTINGS)
        for number in range(2)
    ]
    assert [node.wait() for node in nodes] == [0, 0]

    expected, got = (load_file(tmp_path / name / "train/model/model.safetensors") for name in ("alone", "run"))
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[key], got[key]) for key in expected)
