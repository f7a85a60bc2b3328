"""Real Ray clusters of a few small raylets on this machine; where Ray is missing, every test here is skipped."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
STORE_BYTES = 80 * 2**20
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(str(folder) for folder in (HERE.parents[1] / "src", HERE.parent, HERE)),
    "RAY_USAGE_STATS_ENABLED": "0",
    # A lost node is noticed within seconds, not half a minute; one that is slow on a busy machine is not lost.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}
WARNINGS_OF_RAY = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    found = importlib.util.find_spec("ray")
    is_missing = found is None or found.origin is None
    for item in items:
        if item.path.parent != HERE:
            continue
        for pattern in WARNINGS_OF_RAY:
            item.add_marker(pytest.mark.filterwarnings(pattern))
        if is_missing and {"ray", "start_cluster"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.skip("Ray is not installed: pip install 'forklock[cluster]'"))


@pytest.fixture
def ray() -> None:
    """For tests that need the package, and no cluster."""


@pytest.fixture
def start_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Starts a head without CPUs, and a raylet for each number of CPUs given; everything is stopped afterwards."""
    import ray
    from ray.cluster_utils import Cluster

    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    folder = tempfile.mkdtemp(prefix="fl-ray-", dir="/tmp")  # paths of sockets have to be short
    started: list[Any] = []

    def start(*cpus: int) -> Any:
        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        started.append(cluster)
        for number in cpus:
            cluster.add_node(num_cpus=number, object_store_memory=STORE_BYTES, temp_dir=folder)
        return cluster

    yield start
    ray.shutdown()
    for cluster in started:
        cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
