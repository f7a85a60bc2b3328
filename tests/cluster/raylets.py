"""A real Ray cluster of a few small raylets on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forklock.config import ClusterConfig, Recipe

HERE = Path(__file__).parent
NUM_NODES, CPUS_OF_NODE = 2, 2
STORE_BYTES = 80 * 2**20
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(str(folder) for folder in (HERE.parents[1] / "src", HERE.parent, HERE)),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "RAY_memory_monitor_refresh_ms": "0",  # other programs' memory is no reason to end a worker here
    # A lost node is noticed within seconds, not half a minute; one that is slow on a busy machine is not lost.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}


class Raylets:
    """A head without CPUs, and nodes that tests may kill."""

    def __init__(self, folder: str) -> None:
        from ray.cluster_utils import Cluster

        self._common = {"object_store_memory": STORE_BYTES, "temp_dir": folder}
        with socket.socket() as free:
            free.bind(("", 0))
            client_port = free.getsockname()[1]
        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "ray_client_server_port": client_port,
                **self._common,
            },
        )
        self.client_address = f"ray://127.0.0.1:{client_port}"

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def take(self, recipe: Recipe, **settings: Any) -> Recipe:
        """The recipe, to run here."""
        return recipe.model_copy(update={"cluster": ClusterConfig(address=self.address, **settings)})

    def fill(self, num_nodes: int = NUM_NODES) -> None:
        while len(self._cluster.worker_nodes) < num_nodes:
            self._cluster.add_node(num_cpus=CPUS_OF_NODE, **self._common)

    def count_lost(self) -> int:
        """Of the nodes, since this was last asked; the head knows of them afterwards."""
        lost = [node for node in self._cluster.worker_nodes if _raylet(node).poll() is not None]
        for node in lost:
            self._cluster.remove_node(node, allow_graceful=False)
        self._cluster.wait_for_nodes()
        return len(lost)

    def head_processes(self) -> list[int]:
        return [info.process.pid for kind in self._cluster.head_node.all_processes.values() for info in kind]

    def stop(self) -> None:
        self._cluster.shutdown()


def _raylet(node: Any) -> Any:
    [info] = node.all_processes["raylet"]
    return info.process


@contextmanager
def raylets() -> Iterator[Raylets]:
    folder = tempfile.mkdtemp(prefix="fl-ray-", dir="/tmp")  # paths of sockets have to be short
    started = Raylets(folder)
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(folder, ignore_errors=True)
