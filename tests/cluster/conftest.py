"""A real Ray cluster of a head and two raylets on this machine; where Ray is missing, its tests are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from raylets import SETTINGS, Raylets, raylets

HERE = Path(__file__).parent
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
        if is_missing and {"ray", "whole_session"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.skip("Ray is not installed: pip install 'forklock[cluster]'"))


@pytest.fixture(scope="session")
def settings() -> Iterator[None]:
    """For the cluster's processes, and for this one: sums over another number of threads differ in their last bits."""
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(int(SETTINGS["OMP_NUM_THREADS"]))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def ray(settings: None) -> None:
    """For tests that need the package, and no cluster."""


@pytest.fixture(scope="session")
def whole_session(settings: None) -> Iterator[Raylets]:
    with raylets() as started:
        yield started


@pytest.fixture
def cluster(whole_session: Raylets) -> Iterator[Raylets]:
    """With all its nodes, whatever became of them before; this process is no driver of it afterwards."""
    import ray

    whole_session.count_lost()
    whole_session.fill()
    yield whole_session
    ray.shutdown()
