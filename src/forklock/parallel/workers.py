"""Stages in processes of their own: several at a time, each with its share of the devices, none of them alone fatal.

The process that holds the run folder says who takes which stage and writes down what happens; workers do the stages'
own work, keep an engine open from one point of a model to the next, and are lent the folder's lock. They end with the
process that started them, however that one ends.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from forklock import progress
from forklock.config import Recipe
from forklock.errors import ForklockError
from forklock.evaluate import Session
from forklock.evaluate.points import FAMILY
from forklock.parallel.schedule import Schedule, model_of
from forklock.progress import Board, Progress
from forklock.run_dir import Event, Run, RunDirError, Stage, StorageError, run_stages
from forklock.run_dir.events import EventLog, Events
from forklock.run_dir.lock import RunLock
from forklock.sandbox import linux
from forklock.sweep.cells import whole_plan

STOPPING_S = 30.0
"""That a worker is given to put away what it has done, before it is killed."""


class ParallelError(ForklockError):
    """More stages at a time than the machine has room for."""

    exit_code = 2


@dataclass(frozen=True)
class Job:
    """What a worker has to know."""

    recipe: Recipe
    """Names on the hub held to commits."""
    allow_unsafe: bool
    devices: tuple[str, ...] = ()
    """As CUDA_VISIBLE_DEVICES names them; none where there are none."""
    num_threads: int = 1


@dataclass(frozen=True)
class Outcome:
    """What a worker says at the end of a stage."""

    reason: str | None = None
    """Why it failed."""
    is_fatal: bool = False
    """Of everything, not of the stage alone."""


@dataclass
class _Worker:
    process: SpawnProcess
    connection: Connection
    job: Job
    model: str | None = None
    stage: str | None = None
    """At which it works."""

    def begin(self, stage: Stage) -> None:
        self.model, self.stage = model_of(stage), stage.name
        self.connection.send(stage.name)


def take_in_processes(run: Run, schedule: Schedule, job: Job, num_workers: int) -> None:
    """Until nothing that can run is left. Raises what stops everything, all workers ended."""
    jobs = _shares(job, num_workers)
    workers: list[_Worker] = []
    with progress.board("stages", schedule.num_stages) as board:
        try:
            while True:
                board.set_done(schedule.num_done)
                _hand_out(run, schedule, workers, jobs)
                busy = [worker for worker in workers if worker.stage is not None]
                if not busy:
                    break
                run.lock.describe(*(worker.stage for worker in busy if worker.stage is not None))
                ready = wait([worker.connection for worker in busy])
                for worker in busy:
                    if worker.connection in ready and not _hear(run, schedule, worker, board):
                        workers.remove(worker)
                        jobs.append(worker.job)
            run.lock.describe()
        finally:
            _end(run, workers, board)


def _hand_out(run: Run, schedule: Schedule, workers: list[_Worker], jobs: list[Job]) -> None:
    """Stages to idle workers, each rather one of the model that it has open; a worker is started for what is left."""
    for worker in workers:
        if worker.stage is None and (stage := schedule.take(worker.model)) is not None:
            worker.begin(stage)
    while jobs and (stage := schedule.take()) is not None:
        with _interrupts_wait():
            workers.append(_start(run, jobs.pop(0)))
        workers[-1].begin(stage)


def _hear(run: Run, schedule: Schedule, worker: _Worker, board: Board) -> bool:
    """One message of a worker. False where it has died."""
    assert worker.stage is not None
    try:
        message = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        board.show(worker.stage, None)
        schedule.fail(worker.stage, f"its process ended {_how(worker.process.exitcode)}")
        return False
    if isinstance(message, Event):
        keep(run, message)
        return True
    if isinstance(message, Progress):
        board.show(worker.stage, None if message.is_over else message)
        return True
    assert isinstance(message, Outcome)
    if message.is_fatal:
        raise RunDirError(message.reason)
    if message.reason is None:
        schedule.finish(worker.stage)
    else:
        schedule.fail(worker.stage, message.reason)
    worker.stage = None
    return True


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    return f"with exit code {code}; its own words stand above"


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """In a process that is started meanwhile, too, until it is ready for them: one that still loads its modules has
    nothing to put away, and a traceback would be all that it could answer."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _start(run: Run, job: Job) -> _Worker:
    assert isinstance(run.lock, RunLock)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(job, run.path, run.lock.lend(), theirs, os.getpid()))
    process.start()
    theirs.close()
    return _Worker(process, ours, job)


def _end(run: Run, workers: Sequence[_Worker], board: Board) -> None:
    """Idle workers are told to leave; one at work is interrupted, as by Ctrl-C, and its last words are kept."""
    if num_at_work := sum(worker.stage is not None for worker in workers):
        board.say(stopping(num_at_work))
    for worker in workers:
        with suppress(ProcessLookupError, BrokenPipeError):
            if worker.stage is None:
                worker.connection.send(None)
            elif worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGINT)
    for worker in workers:
        worker.process.join(STOPPING_S)
        worker.process.kill()
        worker.process.join()
        with suppress(EOFError, ConnectionResetError):
            while worker.connection.poll():
                if isinstance(message := worker.connection.recv(), Event):
                    keep(run, message)
        worker.connection.close()


def stopping(num_stages: int) -> str:
    """What those are told who wait for it."""
    who = "1 stage puts away what it has" if num_stages == 1 else f"{num_stages} stages put away what they have"
    return f"stopping: {who} finished; this can take some seconds"


def keep(run: Run, event: Event) -> None:
    assert isinstance(run.events, EventLog)
    run.events.keep(event)


def _work(job: Job, run_dir: Path, lock: Any, connection: Connection, starter: int) -> None:
    """In the worker."""
    os.setpgid(0, 0)  # Ctrl-C on the terminal is the starter's, who passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs are without
    linux.die_with(starter)
    # Before torch is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", str(job.num_threads))
    progress.forward_to(connection.send)
    if job.devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(job.devices)
    run = Run(run_dir, lock, Events(connection.send))
    with suppress(KeyboardInterrupt, EOFError), Session(job.recipe, allow_unsafe=job.allow_unsafe) as session:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        stages = whole_plan(job.recipe, session).stages
        while (name := connection.recv()) is not None:
            stage = stages[name]
            if not stage.name.startswith(f"{FAMILY}/"):
                session.release()
            connection.send(outcome_of(run, stage))
    gc.freeze()  # the interpreter's last search for garbage, all through torch, would keep whoever waits for seconds


def outcome_of(run: Run, stage: Stage) -> Outcome:
    try:
        run_stages(run, [stage])
    except ForklockError as error:
        return Outcome(str(error), is_fatal=isinstance(error, StorageError))
    return Outcome()


def num_at_once(recipe: Recipe, asked: int | None) -> int:
    """What the command asks for; else what the recipe does, as far as the machine's devices and cores allow it. On a
    cluster a recipe does not ask: its stages come one by one, each with all of it."""
    if asked is not None:
        return asked
    if recipe.num_parallel_stages == 1 or recipe.cluster.address is not None:
        return 1
    fitting = min(recipe.num_parallel_stages, len(os.sched_getaffinity(0)))
    return fitting if not (devices := _devices()) else max(1, min(fitting, len(devices) // _num_needed(recipe)))


def _num_needed(recipe: Recipe) -> int:
    """GPUs that one stage takes."""
    return max(1, recipe.engine.tensor_parallel * recipe.engine.data_parallel, recipe.train.num_processes)


def _shares(job: Job, num_workers: int) -> list[Job]:
    """Devices and cores, in equal parts."""
    devices, num_cores = _devices(), len(os.sched_getaffinity(0))
    each, num_needed = len(devices) // num_workers, _num_needed(job.recipe)
    if devices and each < num_needed:
        raise ParallelError(
            f"--parallel {num_workers}: {len(devices)} GPUs are not {num_needed} for each process "
            f"(engine.tensor_parallel, engine.data_parallel, train.num_processes); "
            f"{max(1, len(devices) // num_needed)} can work at once"
        )
    settings = job.recipe.evaluate
    num_graders = settings.num_grading_workers or max(1, num_cores // num_workers)
    recipe = job.recipe.model_copy(
        update={"evaluate": settings.model_copy(update={"num_grading_workers": num_graders})}
    )
    return [
        replace(
            job,
            recipe=recipe,
            devices=tuple(devices[number * each : (number + 1) * each]),
            num_threads=max(1, num_cores // num_workers),
        )
        for number in range(num_workers)
    ]


def _devices() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
