"""Answers scored on every node: a Ray task each, in a sandbox that its worker process keeps.

A task whose node is lost is run again elsewhere; scoring an answer twice changes nothing. Each node has to isolate
programs by itself, and one that can't is found out before any answer is drawn.
"""

from __future__ import annotations

import functools
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from forklock.benchmarks import Problem, Score
from forklock.cluster.nodes import node_name, nodes
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.worker import SandboxUnavailableError

MAX_RETRIES = 10
"""Of an answer whose node is lost."""


class ClusterScorer:
    """One answer a CPU."""

    def __init__(self, *, allow_unsafe: bool) -> None:
        """`SandboxUnavailableError` where a node can't isolate programs and `allow_unsafe` is not said."""
        self._allow_unsafe = allow_unsafe
        working = nodes()
        self._num_workers = sum(node.num_cpus for node in working)
        _check_isolation([node.node_id for node in working], allow_unsafe)
        self._score: Any = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_score)
        self._problems: dict[str, Any] = {}
        self._running: set[Any] = set()

    @property
    def num_workers(self) -> int:
        return self._num_workers

    def submit(self, problem: Problem, answer: str) -> Future[Score]:
        stored = self._problems.get(problem.problem_id)
        if stored is None:
            stored = self._problems[problem.problem_id] = ray.put(problem)
        task = self._score.remote(stored, answer, self._allow_unsafe)
        self._running.add(task)
        scored: Future[Score] = Future()

        def hand_on(done: Future[Score | str]) -> None:
            self._running.discard(task)
            if (error := done.exception()) is not None:
                scored.set_exception(error)
            elif isinstance(result := done.result(), str):
                scored.set_exception(SandboxUnavailableError(result))
            else:
                scored.set_result(result)

        task.future().add_done_callback(hand_on)
        return scored

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._running):
            ray.cancel(task)
        self._problems.clear()


def _check_isolation(node_ids: list[str], allow_unsafe: bool) -> None:
    probe: Any = ray.remote(num_cpus=0)(_cause_of_refusal)
    answers = [
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(allow_unsafe)
        for node_id in node_ids
    ]
    for node_id, cause in zip(node_ids, ray.get(answers), strict=True):
        if cause:
            raise SandboxUnavailableError(f"on {node_name(node_id)}: {cause}")


def _cause_of_refusal(allow_unsafe: bool) -> str:
    try:
        with Sandbox(num_workers=1, unsafe=allow_unsafe):
            return ""
    except SandboxUnavailableError as error:
        return str(error)


def _score(problem: Problem, answer: str, allow_unsafe: bool) -> Score | str:
    """In a worker process. Ray would try an exception again; a node that joined late and can't isolate says so."""
    try:
        sandbox = _sandbox_of_process(allow_unsafe)
    except SandboxUnavailableError as error:
        return str(error)
    return problem.score(answer, sandbox)


@functools.cache
def _sandbox_of_process(allow_unsafe: bool) -> Sandbox:
    """Ends with the process."""
    return Sandbox(num_workers=1, unsafe=allow_unsafe).__enter__()
