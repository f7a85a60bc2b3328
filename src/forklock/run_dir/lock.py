"""One process at a time works in a run folder.

The lock is flock(2) on `run.lock`: the kernel drops it when its holder dies, however that happens, and the file
stays. It is the holder's alone: a program started by the holder does not get it (close-on-exec), and a forked
child closes it at once. So a child that outlives the run never blocks the next one; a body whose children write
into the run folder has to see to it that they die with it (prctl PR_SET_PDEATHSIG, or the launcher's own way). A
process that takes whole stages is lent the lock (`RunLock.lend`): then the folder is free when both have ended.

Sound between processes of one machine. Between machines it is as good as flock is on the shared file system.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from forklock.run_dir.atomic import storage_errors
from forklock.run_dir.errors import RunLockedError

LOCK_NAME = "run.lock"

_HOLDER_BYTES = 4096
_TRIES = 1000
_held: set["_OpenLock"] = set()


class LockHolder(BaseModel):
    """Who holds a run's lock, as it wrote it down itself."""

    model_config = ConfigDict(frozen=True)

    pid: int
    host: str
    started: str
    stages: tuple[str, ...] = ()
    """At which it works; several where processes of its own take them."""

    def __str__(self) -> str:
        stages = f", in stage {', '.join(self.stages)}" if self.stages else ""
        return f"process {self.pid} on {self.host}, since {self.started}{stages}"


class _OpenLock:
    """The lock file, open: while one process has it open that took the lock or was lent it, the lock is held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        _held.add(self)

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def release(self) -> None:
        _held.discard(self)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class RunLock(_OpenLock):
    """A held lock."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(descriptor)
        self._path = path
        self._started = datetime.now(UTC).isoformat(timespec="seconds")

    def describe(self, *stages: str) -> None:
        """Write down who holds the lock and what it does, in one write of one size: readers see all or none."""
        assert self._descriptor is not None
        holder = LockHolder(pid=os.getpid(), host=socket.gethostname(), started=self._started, stages=stages)
        with storage_errors(self._path):
            os.pwrite(self._descriptor, holder.model_dump_json().encode().ljust(_HOLDER_BYTES), 0)

    def lend(self) -> "Loan":
        """For a process that is started with it: the folder stays locked until that one has ended, too."""
        assert self._descriptor is not None
        return Loan(self._descriptor)


class Loan:
    """A lock on its way to a process that `multiprocessing` spawns; `LentLock` over there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _take_loan, (DupFd(self._descriptor),)


class LentLock(_OpenLock):
    """The lock of the process that started this one. Who holds it says so itself: this one's part is to be there."""

    def describe(self, *stages: str) -> None:
        """Left to the lender."""


class LockElsewhere:
    """For work that a command on another machine hands out and waits for: that one holds the lock."""

    is_held = True

    def describe(self, *stages: str) -> None:
        """Left to the holder."""


def _take_loan(received: Any) -> LentLock:
    descriptor: int = received.detach()
    os.set_inheritable(descriptor, False)
    return LentLock(descriptor)


def _release_in_child() -> None:
    for lock in tuple(_held):
        lock.release()  # closes the child's copy; the parent's keeps the lock


os.register_at_fork(after_in_child=_release_in_child)


@contextmanager
def hold_lock(run_dir: Path) -> Iterator[RunLock]:
    """Hold the run's lock, or say at once who does."""
    path = run_dir / LOCK_NAME
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        taken = _take(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    if not taken:
        holder = _read_holder(descriptor)
        os.close(descriptor)
        raise RunLockedError(
            f"{run_dir}: another run works in this folder ({holder or 'it is just starting'}); "
            "wait for it or stop it, or give this run another folder"
        )
    lock = RunLock(path, descriptor)
    try:
        lock.describe()
        yield lock
    finally:
        lock.release()


def find_holder(run_dir: Path) -> LockHolder | None:
    """Who holds the lock now; None when nobody does. Changes nothing, and keeps nobody from starting."""
    try:
        descriptor = os.open(run_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if _flock(descriptor, fcntl.LOCK_SH):
            return None
        return _read_holder(descriptor) or LockHolder(pid=0, host="unknown", started="just now")
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Take the exclusive lock. False when another process has it.

    `find_holder` holds a shared lock for an instant, and that must not pass for a run: who cannot get the
    exclusive lock asks for a shared one, gets it only where no run is, and then tries again.
    """
    for _ in range(_TRIES):
        if _flock(descriptor, fcntl.LOCK_EX):
            return True
        if not _flock(descriptor, fcntl.LOCK_SH):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(0.001)
    return False


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(descriptor: int) -> LockHolder | None:
    with suppress(ValidationError):
        return LockHolder.model_validate_json(os.pread(descriptor, _HOLDER_BYTES, 0))
    return None
