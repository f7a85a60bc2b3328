"""Commands in processes of their own, stopped when the chosen event is about to be written; workers that know fakes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from sweep_cases import use_fake_training

from forklock import running
from forklock.config import Recipe
from forklock.parallel import workers
from forklock.run_dir.events import Event, EventLog
from forklock.sweep.taking import run_sweep


def sweep(recipe: Recipe, run_dir: Path, at_event: int, num_parallel: int = 1, number: int = signal.SIGKILL) -> None:
    _stop_at_event(at_event, number)
    run_sweep(recipe, run_dir, num_parallel=num_parallel)


def evaluation(recipe: Recipe, run_dir: Path, at_event: int, number: int) -> None:
    _stop_at_event(at_event, number)
    running.run_evaluation(recipe, run_dir, num_parallel=2)


def _stop_at_event(at_event: int, number: int) -> None:
    use_fake_training()
    workers._work = work
    keep, num_kept = EventLog.keep, 0

    def keep_or_die(self: EventLog, record: Event) -> None:
        nonlocal num_kept
        num_kept += 1
        if num_kept == at_event + 1:
            os.kill(os.getpid(), number)
        keep(self, record)

    EventLog.keep = keep_or_die  # type: ignore[method-assign]


_work: Any = workers._work


def work(*arguments: Any) -> None:
    """Stands for a worker's own function: it is looked up by this name in the new process."""
    use_fake_training()
    _work(*arguments)


def work_failing(*arguments: Any) -> None:
    use_fake_training(fails_at=1.3)
    _work(*arguments)


def work_dying(*arguments: Any) -> None:
    use_fake_training(dies_at=1.3)
    _work(*arguments)
