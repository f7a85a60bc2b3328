"""The same stages on a Ray cluster: what a stage would do on this machine, done by many.

    errors       what can go wrong with a cluster
    client       a command given from outside, through Ray's client
    errand       that command, on a machine of the cluster
    connection   to it, and the watch over its head
    nodes        what its machines have, and how many workers fit
    sampling     an engine whose completions come from a pool of engine actors (Ray Data)
    engine_actor one of that pool
    grading      answers scored by sandboxes on every node (Ray tasks)
    training     the training function, started on many machines (Ray Train)
    stages       several stages of a run at a time (Ray tasks)
    mirror       a copy of the run folder behind an fsspec URL

Scheduling, retries and data movement are Ray's. The command runs where it was started, or on a machine of the cluster
where that was outside, and holds the run folder; nothing outside this package knows of Ray, and this file, which the
stages call, imports it only where a recipe names a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from forklock import engines
from forklock.config import ClusterConfig, ModelConfig, Recipe
from forklock.engines import Engine
from forklock.packages import packages_of

if TYPE_CHECKING:
    from forklock.evaluate.scoring import Scorer
    from forklock.parallel.schedule import Schedule
    from forklock.parallel.workers import Job
    from forklock.run_dir import Run
    from forklock.train.data import Counts
    from forklock.train.launch import Plan
    from forklock.train.loop import Outcome


CLIENT_SCHEME = "ray://"


def is_through_client(config: ClusterConfig) -> bool:
    """From outside: by a command that `take_there` takes through, not by `connected`."""
    return config.address is not None and config.address.startswith(CLIENT_SCHEME)


def take_there(config: ClusterConfig, arguments: Sequence[str]) -> int:
    """The command line's arguments, on a machine of the cluster. Gives the exit code."""
    with packages_of("cluster"):
        from forklock.cluster import client
    assert config.address is not None
    return client.take_there(config.address, list(arguments))


@contextmanager
def connected(config: ClusterConfig) -> Iterator[None]:
    """Around all that a command does. Without an address nothing happens, and Ray is not imported."""
    if config.address is None:
        yield
        return
    with packages_of("cluster"):
        from forklock.cluster.connection import connection
    with connection(config.address):
        yield


@contextmanager
def mirrored(config: ClusterConfig, run_dir: Path) -> Iterator[None]:
    """Around all that is done in a run folder. Without `storage` nothing happens."""
    if config.storage is None:
        yield
        return
    with packages_of("train"):
        from forklock.cluster import mirror
    with mirror.mirrored(config.storage, run_dir):
        yield


def open_engine(recipe: Recipe, model: ModelConfig, *, max_sequence_tokens: int) -> Engine:
    """The recipe's engine over a model: one here, or as many as fit on its cluster. A server is many already."""
    if recipe.cluster.address is None or recipe.engine.kind == "server":
        return engines.open_engine(recipe.engine, model, max_sequence_tokens=max_sequence_tokens)
    from forklock.cluster.sampling import ClusterEngine

    return ClusterEngine(recipe, model, max_sequence_tokens=max_sequence_tokens)


def open_scorer(*, allow_unsafe: bool) -> Scorer:
    """Sandboxes on all nodes of the cluster that this process is connected to."""
    from forklock.cluster.grading import ClusterScorer

    return ClusterScorer(allow_unsafe=allow_unsafe)


def train_on_cluster(plan: Plan) -> tuple[Counts, Outcome]:
    """A training's worker on each GPU of the cluster; finished checkpoints stand in scratch afterwards."""
    from forklock.cluster import training

    return training.train_on_cluster(plan)


def take_on_cluster(run: Run, schedule: Schedule, job: Job, num_parallel: int) -> None:
    """Stages of a run, several at a time, each on a node of the cluster that this process is connected to."""
    from forklock.cluster import stages

    stages.take_on_cluster(run, schedule, job, num_parallel)
