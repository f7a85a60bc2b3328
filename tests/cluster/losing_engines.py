"""Engines of a pool that are lost, or that never answer. Workers import them by name."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pyarrow as pa
from losses import lose_this_node

from forklock.cluster.engine_actor import EngineActor, Order


class LosingEngine(EngineActor):
    """The first engine that is given a second unit takes its node with it."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._num_units = 0
        self._marker = Path(order.model.path).parent / "lost"

    def __call__(self, unit_table: pa.Table) -> pa.Table:
        self._num_units += 1
        if self._num_units == 2:
            lose_this_node(self._marker)
        return super().__call__(unit_table)


class DyingEngine(EngineActor):
    """It never comes to an answer."""

    def __init__(self, order: Order) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class WaitingEngine(EngineActor):
    """Answers one unit, and never the next."""

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self._has_answered = False

    def __call__(self, unit_table: pa.Table) -> pa.Table:
        if self._has_answered:
            threading.Event().wait()
        self._has_answered = True
        return super().__call__(unit_table)
