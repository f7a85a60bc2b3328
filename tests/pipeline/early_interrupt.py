"""Ctrl-C on a terminal, which all processes of its group get, while a worker is still loading its modules."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from forklock import running
from forklock.config import Recipe
from forklock.parallel import workers

if os.environ.get("INTERRUPTS_ITS_GROUP"):
    os.killpg(0, signal.SIGINT)

_work: Any = workers._work


def work(*arguments: Any) -> None:
    """Stands for a worker's own function: to find it, the new process loads this module."""
    _work(*arguments)


def evaluation(recipe: Recipe, run_dir: Path) -> None:
    os.setsid()
    os.environ["INTERRUPTS_ITS_GROUP"] = "yes"
    workers._work = work
    with suppress(KeyboardInterrupt):
        running.run_evaluation(recipe, run_dir, num_parallel=2)
        raise AssertionError("it was not interrupted")
