"""An engine whose completions come from a pool of engine actors: Ray Data over units of requests.

A unit's task is tried again elsewhere when its node is lost, and only what has come back whole counts, so that each
request is completed once. Samples depend on their seeds alone, in strict mode to the last bit: a unit is one of the
groups that a single engine would draw together.
"""

from __future__ import annotations

import itertools
import pickle
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import ray.data
from ray.data import ActorPoolStrategy
from ray.util.annotations import RayDeprecationWarning

from forklock.cluster.engine_actor import COLUMN, EngineActor, Order, UnitResult, table_of
from forklock.cluster.errors import ClusterError
from forklock.cluster.nodes import fit_engines, node_name
from forklock.config import ModelConfig, Recipe
from forklock.decoding import Decoding
from forklock.engines import STRICT_GROUP, Completion, EngineError, Request

REQUESTS_PER_UNIT = 4
"""Few, so that a unit does not stay for one long completion when the others are done."""
UNITS_AT_ONCE = 128
"""On one engine: twice the sequences of a transformers batch."""
MAX_RESTARTS = 10
"""Of an engine whose node or process is lost, and of a unit that it had; by Ray Data's own default without end."""


class ClusterEngine:
    """Engines start with `generate`, and end with it."""

    def __init__(self, recipe: Recipe, model: ModelConfig, *, max_sequence_tokens: int) -> None:
        self.version = ""
        self._recipe = recipe
        self._model = _absolute(model)
        self._max_sequence_tokens = max_sequence_tokens
        self._digests: set[str | None] = set()
        self._coming: Iterator[UnitResult] = iter(())
        self._come: list[UnitResult] = []
        """Results taken to learn of the weights, not yet given."""

    def generate(
        self, requests: Iterable[Request | None], decoding: Decoding, *, record_target: bool = False
    ) -> Iterator[Completion]:
        wanted = [request for request in requests if request is not None]
        order = Order(self._recipe.engine, self._model, self._max_sequence_tokens, decoding, record_target)
        self._digests, self._come = set(), []
        self._coming = self._draw(_units(wanted, strict=self._recipe.engine.strict), order)
        return self._completions({request.request_id for request in wanted})

    def weights_digest(self) -> str | None:
        """Of all engines that have answered so far; waits for the first. Where they differ, all of them."""
        if not self._digests:
            self._come += itertools.islice(self._coming, 1)
        found = sorted(digest for digest in self._digests if digest is not None)
        return " and ".join(found) or None

    def _completions(self, missing: set[int]) -> Iterator[Completion]:
        while result := (self._come.pop(0) if self._come else next(self._coming, None)):
            for completion in result.completions:
                missing.remove(completion.request_id)
                yield completion
        assert not missing, f"{len(missing)} requests were not completed"

    def _draw(self, units: list[tuple[Request, ...]], order: Order) -> Iterator[UnitResult]:
        fit = fit_engines(self._recipe)
        at_once = 1 if order.engine.strict else UNITS_AT_ONCE
        pool = ActorPoolStrategy(
            size=max(1, min(fit.num_workers, len(units))),
            max_concurrent_calls_per_actor=at_once,
            max_tasks_in_flight_per_actor=at_once + 1,
            enable_true_multi_threading=True,
        )
        units_data = ray.data.from_arrow([table_of(unit) for unit in units])
        with warnings.catch_warnings(action="ignore", category=RayDeprecationWarning):  # restarts have no other name
            results = units_data.map_batches(
                EngineActor,
                fn_constructor_args=(order,),
                batch_size=1,
                batch_format="pyarrow",
                compute=pool,
                num_cpus=fit.num_cpus,
                num_gpus=fit.num_gpus or None,
                max_restarts=MAX_RESTARTS,
                max_task_retries=MAX_RESTARTS,
            )
        for table in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for pickled in table[COLUMN]:
                yield self._checked(pickle.loads(pickled.as_py()))

    def _checked(self, result: UnitResult) -> UnitResult:
        if result.error:
            raise EngineError(f"on {node_name(result.node_id)}: {result.error}")
        if self.version not in ("", result.engine):
            raise ClusterError(
                f"the cluster's nodes have different packages: {self.version} and {result.engine}; install the same "
                "everywhere"
            )
        self.version = result.engine
        self._digests.add(result.weights_digest)
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._coming = iter(())


def _units(wanted: list[Request], *, strict: bool) -> list[tuple[Request, ...]]:
    """At least one, if an empty one: an engine then starts, and tells its weights."""
    size = STRICT_GROUP if strict else REQUESTS_PER_UNIT
    return [tuple(wanted[start : start + size]) for start in range(0, max(1, len(wanted)), size)]


def _absolute(model: ModelConfig) -> ModelConfig:
    """Workers have working folders of their own."""
    folder = Path(model.path)
    return model.model_copy(update={"path": str(folder.absolute())}) if folder.is_dir() else model
