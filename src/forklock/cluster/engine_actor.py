"""One engine of a cluster's pool: Ray Data calls it with units of requests, several at a time.

All units at work share the engine's batch: as sequences finish, requests of the next unit take their places, so that
no unit waits for another's longest completion. (In strict mode a unit is a group, and there is one at a time.)

A worker's last unit does not return before the weights were found the same as when they were loaded: whenever a worker
has nothing left to do, all that it has returned is vouched for.
"""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import pyarrow as pa
import ray

from forklock.config import EngineConfig, ModelConfig
from forklock.decoding import Decoding
from forklock.engines import Completion, Engine, Request, open_engine
from forklock.errors import ForklockError

COLUMN = "pickled"
"""Of a table with one row: a unit, or its result."""


@dataclass(frozen=True)
class Order:
    """What every engine of a pool is started with."""

    engine: EngineConfig
    model: ModelConfig
    max_sequence_tokens: int
    decoding: Decoding
    record_target: bool


@dataclass(frozen=True)
class UnitResult:
    """A unit's completions, and what drew them. An error is the user's to mend, so that Ray shall not try again."""

    completions: tuple[Completion, ...] = ()
    weights_digest: str | None = None
    engine: str = ""
    node_id: str = ""
    error: str = ""


@dataclass
class _Unit:
    requests: tuple[Request, ...]
    completions: list[Completion] = field(default_factory=list)
    result: Future[UnitResult] = field(default_factory=Future)


class EngineActor:
    """Threads bring units and wait; one more owns the engine."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._waiting: queue.SimpleQueue[_Unit] = queue.SimpleQueue()
        self._units: dict[int, _Unit] = {}
        """By request, those that the engine has."""
        self._num_at_work = 0
        self._lock = threading.Lock()
        self._digest: str | None = None
        self._node_id: str = ray.get_runtime_context().get_node_id()
        threading.Thread(target=self._serve, name="forklock-engine", daemon=True).start()

    def __call__(self, unit_table: pa.Table) -> pa.Table:
        unit = _Unit(pickle.loads(unit_table[COLUMN][0].as_py()))
        with self._lock:
            self._num_at_work += 1
        self._waiting.put(unit)
        return table_of(unit.result.result())

    def _serve(self) -> None:
        order = self._order
        try:
            with open_engine(order.engine, order.model, max_sequence_tokens=order.max_sequence_tokens) as engine:
                self._digest = engine.weights_digest()
                while True:
                    self._draw(engine, self._waiting.get())
        except Exception as error:  # noqa: BLE001 - handed on to the threads that wait
            failure = error
        for unit in self._units.values():
            self._fail(unit, failure)
        while True:
            self._fail(self._waiting.get(), failure)

    def _draw(self, engine: Engine, first: _Unit) -> None:
        """Until no unit is left. The engine asks for a request whenever it has room for one."""
        order = self._order
        for completion in engine.generate(
            self._requests(engine, first), order.decoding, record_target=order.record_target
        ):
            unit = self._units.pop(completion.request_id)
            unit.completions.append(completion)
            if len(unit.completions) == len(unit.requests):
                self._finish(engine, unit)

    def _requests(self, engine: Engine, first: _Unit) -> Iterator[Request | None]:
        unit: _Unit | None = first
        while True:
            if unit is None:
                yield None
            elif unit.requests:
                self._units |= dict.fromkeys((request.request_id for request in unit.requests), unit)
                yield from unit.requests
            else:
                self._finish(engine, unit)
            try:
                unit = self._waiting.get_nowait()
            except queue.Empty:
                unit = None

    def _finish(self, engine: Engine, unit: _Unit) -> None:
        with self._lock:
            self._num_at_work -= 1
            is_last = self._num_at_work == 0
        if is_last:
            self._digest = engine.weights_digest()
        unit.result.set_result(UnitResult(tuple(unit.completions), self._digest, engine.version, self._node_id))

    def _fail(self, unit: _Unit, failure: Exception) -> None:
        if unit.result.done():
            return
        if isinstance(failure, ForklockError):
            unit.result.set_result(UnitResult(node_id=self._node_id, error=str(failure)))
        else:
            unit.result.set_exception(failure)


def table_of(value: object) -> pa.Table:
    return pa.table({COLUMN: pa.array([pickle.dumps(value)], pa.large_binary())})
