"""Several stages of a sweep at a time: each a Ray task on one node, with the GPUs and CPUs that it declares.

A task does what a process of `parallel.workers` does, on a node that sees the run folder. One whose node is lost is run
again elsewhere and goes on with what the stage has in the run folder; no other stage notices. The run folder stays
locked by the command alone: should it die, its tasks go on until Ray has noticed, some seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from forklock import progress
from forklock.cluster.nodes import Fit, fit_stages
from forklock.config import ClusterConfig
from forklock.errors import ForklockError
from forklock.evaluate import Session
from forklock.parallel.schedule import Schedule
from forklock.parallel.workers import STOPPING_S, Job, Outcome, keep, outcome_of, stopping
from forklock.run_dir import Event, Run, RunDirError
from forklock.run_dir.events import Events
from forklock.run_dir.lock import LockElsewhere
from forklock.run_dir.opening import RUN_NAME
from forklock.sweep.cells import whole_plan

MAX_RETRIES = 3
"""Of a stage whose node or process is lost; then it has failed."""


@dataclass(frozen=True)
class Order:
    """What a task has to know, beside its stage."""

    job: Job
    run_dir: Path
    folder: Path
    """Which the recipe's paths are relative to."""


def take_on_cluster(run: Run, schedule: Schedule, job: Job, num_parallel: int) -> None:
    """As `take_in_processes`."""
    fit = fit_stages(job.recipe, num_parallel)
    order = Order(_alone(job, fit), run.path.absolute(), Path.cwd())
    task: Any = ray.remote(
        num_cpus=fit.num_cpus, num_gpus=fit.num_gpus, max_retries=MAX_RETRIES, scheduling_strategy="SPREAD"
    )(_take)
    running: dict[Any, str] = {}
    try:
        while True:
            while len(running) < fit.num_workers and (stage := schedule.take()) is not None:
                running[task.remote(order, stage.name)] = stage.name
            if not running:
                break
            run.lock.describe(*running.values())
            [done], _ = ray.wait(list(running), num_returns=1)
            _hear(run, schedule, running.pop(done), done)
        run.lock.describe()
    finally:
        _stop(list(running))


def _alone(job: Job, fit: Fit) -> Job:
    """On its node a task is by itself: engine, sandboxes and training are those of one machine."""
    settings = job.recipe.evaluate.model_copy(update={"num_grading_workers": fit.num_cpus})
    recipe = job.recipe.model_copy(update={"cluster": ClusterConfig(), "evaluate": settings})
    return replace(job, recipe=recipe, num_threads=fit.num_cpus)


def _hear(run: Run, schedule: Schedule, name: str, done: Any) -> None:
    try:
        events, outcome = ray.get(done)
    except ray.exceptions.RayTaskError as error:
        schedule.fail(name, f"its task ended: {error.cause!r}")
        return
    except ray.exceptions.RayError as error:
        schedule.fail(name, f"its task ended: {str(error).strip().splitlines()[0]}")
        return
    for event in events:
        keep(run, event)
    if outcome.is_fatal:
        raise RunDirError(outcome.reason)
    if outcome.reason is None:
        schedule.finish(name)
    else:
        schedule.fail(name, outcome.reason)


def _stop(running: list[Any]) -> None:
    """As by Ctrl-C: what is finished is written."""
    for task in running:
        ray.cancel(task)
    if running:
        progress.say(stopping(len(running)))
        ray.wait(running, num_returns=len(running), timeout=STOPPING_S)


def _take(order: Order, name: str) -> tuple[list[Event], Outcome]:
    """On the node."""
    if not (order.run_dir / RUN_NAME).is_file() or not order.folder.is_dir():
        where = f"{order.run_dir} or {order.folder} is not there on {ray.util.get_node_ip_address()}"
        return [], Outcome(f"{where}; keep both on storage that all nodes reach under the same path", is_fatal=True)
    os.chdir(order.folder)
    events: list[Event] = []
    run = Run(order.run_dir, LockElsewhere(), Events(events.append))
    try:
        with Session(order.job.recipe, allow_unsafe=order.job.allow_unsafe) as session:
            outcome = outcome_of(run, whole_plan(order.job.recipe, session).stages[name])
    except ForklockError as error:
        outcome = Outcome(str(error))
    return events, outcome
