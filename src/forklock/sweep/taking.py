"""Takes a sweep's stages through in its run folder. One that fails does not stop those that do not need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forklock.cluster import take_on_cluster
from forklock.cluster.errors import ClusterLostError
from forklock.config import Recipe
from forklock.errors import ForklockError
from forklock.evaluate import Session
from forklock.evaluate.points import FAMILY
from forklock.parallel.schedule import Schedule
from forklock.parallel.workers import Job, num_at_once, take_in_processes
from forklock.run_dir import Run, StorageError, run_stages, write_text
from forklock.run_dir.atomic import remove
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.running import opened, say_what_is_there
from forklock.sweep.cells import plan_sweep, sweep_of

FOLDER = "sweep"
"""In the run folder, beside its stages and none of them."""
FAILURES_FILE = "failures.json"


def run_sweep(
    recipe: Recipe, run_dir: Path, *, num_parallel: int | None = None, allow_unsafe: bool = False
) -> dict[str, str]:
    """Bring every cell to completion that can be; gives the stages that failed, with their reasons.

    `num_parallel` stages at a time; None: as many as the recipe says. Calling again tries those that failed again. A
    full disk, and what would stop every evaluation, stops the sweep.
    """
    sweep_of(recipe)
    with opened(recipe, run_dir, with_benchmarks=True) as (run, pinned), _kept_failures(run) as failures:
        with Session(pinned, allow_unsafe=allow_unsafe) as session:
            planned = plan_sweep(pinned, session)
            stages = planned.plan.closure(planned.wanted)
            if any(not (run.path / stage.name / MANIFEST_NAME).exists() for stage in stages):
                session.check(pinned.evaluate.benchmarks)
            say_what_is_there(run.path, stages)
            schedule = Schedule(stages)
            schedule.failures = failures
            num_workers = num_at_once(pinned, num_parallel)
            if num_workers == 1:
                _take(run, schedule, session)
        if num_workers > 1:
            take = take_in_processes if pinned.cluster.address is None else take_on_cluster
            take(run, schedule, Job(pinned, allow_unsafe), num_workers)
    return failures


def read_failures(run_dir: Path) -> dict[str, str]:
    """Of the last call that worked in this folder."""
    path = run_dir / FOLDER / FAILURES_FILE
    if not path.is_file():
        return {}
    failures: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return failures


def _take(run: Run, schedule: Schedule, session: Session) -> None:
    while (stage := schedule.take()) is not None:
        if not stage.name.startswith(f"{FAMILY}/"):
            session.release()
        try:
            run_stages(run, [stage])
        except (StorageError, ClusterLostError):
            raise
        except ForklockError as error:
            schedule.fail(stage.name, str(error))
        else:
            schedule.finish(stage.name)


@contextmanager
def _kept_failures(run: Run) -> Iterator[dict[str, str]]:
    """Failures of this call, in a file when it ends: those of the one before are about to be tried again."""
    path = run.path / FOLDER / FAILURES_FILE
    path.parent.mkdir(exist_ok=True)
    remove(path)
    failures: dict[str, str] = {}
    try:
        yield failures
    finally:
        if failures:
            write_text(path, json.dumps(failures, indent=1) + "\n")
