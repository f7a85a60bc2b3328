"""What scores answers: threads of this process over its sandbox, or the nodes of a cluster."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

from forklock.benchmarks import Problem, Score
from forklock.sandbox.pool import Sandbox


class Scorer(Protocol):
    """At work inside its context, which may be entered again. Leaving it drops what has not begun."""

    @property
    def num_workers(self) -> int:
        """Answers that are scored at once."""
        ...

    def submit(self, problem: Problem, answer: str) -> Future[Score]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ThreadScorer:
    """On this machine. Whoever opened the sandbox closes it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._threads: ThreadPoolExecutor | None = None

    @property
    def num_workers(self) -> int:
        return self._sandbox.num_workers

    def submit(self, problem: Problem, answer: str) -> Future[Score]:
        assert self._threads is not None
        return self._threads.submit(problem.score, answer, self._sandbox)

    def __enter__(self) -> Self:
        self._threads = ThreadPoolExecutor(self.num_workers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._threads is not None
        self._threads.shutdown(wait=True, cancel_futures=True)
