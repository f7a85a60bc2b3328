"""What the cluster's machines have, and how many workers of a kind fit on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray

from forklock.cluster.errors import ClusterError
from forklock.config import Recipe


@dataclass(frozen=True)
class Node:
    """A machine that does work; the head usually has no CPUs to give."""

    node_id: str
    num_cpus: int
    num_gpus: int


@dataclass(frozen=True)
class Fit:
    """So many workers, each with so much."""

    num_workers: int
    num_cpus: int
    num_gpus: int


def nodes() -> list[Node]:
    found = [
        Node(node["NodeID"], int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
        for node in _all_nodes()
        if node["Alive"]
    ]
    working = [node for node in found if node.num_cpus or node.num_gpus]
    if not working:
        raise ClusterError("the cluster has no node with CPUs or GPUs; add one (`ray start --address HEAD:6379`)")
    return working


def fit_engines(recipe: Recipe) -> Fit:
    """`cluster.num_engine_workers`, or as many as fit. Without GPUs an engine takes as many CPUs as the smallest node
    has, so that there is one on each."""
    working, wanted = nodes(), recipe.cluster.num_engine_workers
    if any(node.num_gpus for node in working):
        is_vllm = recipe.engine.kind == "vllm"
        size = recipe.engine.tensor_parallel * recipe.engine.data_parallel if is_vllm else 1
        fitting = sum(node.num_gpus // size for node in working)
        if not fitting:
            raise ClusterError(
                f"an engine takes {size} GPUs (engine.tensor_parallel times data_parallel), and the largest node has "
                f"{max(node.num_gpus for node in working)}"
            )
        return Fit(min(wanted or fitting, fitting), 1, size)
    num_cpus = min(node.num_cpus for node in working)
    if wanted is not None:
        num_cpus = max(1, min(num_cpus, sum(node.num_cpus for node in working) // wanted))
    fitting = sum(node.num_cpus // num_cpus for node in working)
    return Fit(min(wanted or fitting, fitting), num_cpus, 0)


def fit_training(recipe: Recipe) -> Fit:
    """`cluster.num_training_workers`, or one a GPU, or without GPUs one a node."""
    working, wanted = nodes(), recipe.cluster.num_training_workers
    num_gpus = sum(node.num_gpus for node in working)
    fitting = num_gpus or sum(node.num_cpus for node in working)
    if wanted is not None and wanted > fitting:
        raise ClusterError(
            f"cluster.num_training_workers = {wanted}, and the cluster has room for {fitting} (one a "
            f"{'GPU' if num_gpus else 'CPU'})"
        )
    return Fit(wanted or num_gpus or len(working), 1, 1 if num_gpus else 0)


def fit_stages(recipe: Recipe, wanted: int) -> Fit:
    """So many stages at once, each on one node: with the GPUs that it takes on one machine, and its share of CPUs."""
    working, num_gpus = nodes(), 0
    if any(node.num_gpus for node in working):
        engine = recipe.engine
        num_gpus = max(1, engine.tensor_parallel * engine.data_parallel, recipe.train.num_processes)
        places = {node: node.num_gpus // num_gpus for node in working if node.num_gpus >= num_gpus}
        num_cpus = min((max(1, node.num_cpus // places[node]) for node in places), default=1)
        fitting = sum(places.values())
    else:
        num_cpus = max(1, min(min(node.num_cpus for node in working), sum(node.num_cpus for node in working) // wanted))
        fitting = sum(node.num_cpus // num_cpus for node in working)
    if wanted > fitting:
        each = f"{num_gpus} GPUs" if num_gpus else "one CPU"
        raise ClusterError(f"--parallel {wanted}: the cluster has room for {fitting} stages at once, {each} for each")
    return Fit(wanted, num_cpus, num_gpus)


def node_name(node_id: str) -> str:
    """For messages."""
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in _all_nodes()}
    return f"node {addresses.get(node_id, '')} ({node_id[:8]})"


def _all_nodes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ray.nodes()
    return found
