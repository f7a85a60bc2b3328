"""One child from its fork to the end of all it started. Runs in the zygote, which never runs a line of the program."""

# No pathlib in what a zygote loads: each child would pay for it.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import _socket
import contextlib
import gc
import os
import select
import signal
import time

from forklock.sandbox import child, wire
from forklock.sandbox.kept import Begun, Kept
from forklock.sandbox.scratch import empty_folder
from forklock.sandbox.waiting import Idleness, Thread, read_thread

FIRST_LOOK_S = 0.02
LOOK_S = 0.05
"""How often a running child's use is looked at; overshoot of a limit is at most about this."""
STDERR_KEPT = 16_384
STDERR_READ_MAX = 64 << 20
READ_SIZE = 1 << 16
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")
MAX_ALIVE_S = 5.0
"""How long the killed may take to be gone before this place counts as spoilt."""


class SpoiltError(Exception):
    """Something of a program outlived it; nothing more may run here."""


class Supervisor:
    """One at a time: its process namespace holds the zygote and the child's tree, nothing else."""

    def __init__(self, scratch: str, *, has_namespaces: bool) -> None:
        self.scratch = scratch
        self.has_namespaces = has_namespaces
        self.kept: Kept | None = None
        self.usual_nice = os.getpriority(os.PRIO_PROCESS, 0)

    def run(self, job: wire.Job, stdin: int, parent: int) -> list[wire.Report]:
        """Runs the job to its end; of several calls, the first, or as many as take a moment.
        If `parent`, the control socket, hangs up meanwhile, ends the zygote itself.

        Children are forked from here alone: how deep the zygote's own calls are is part of what they see."""
        if self.kept is not None and self.kept.job.session != job.session:
            self.drop_kept()
        if job.session and not self.has_namespaces:
            job = job._replace(session=0)  # nothing could keep it from starting processes that its clock does not see
        if job.session:
            if self.kept is None:
                self.kept = Kept(job, self._begin(job, stdin), parent)
            reports = self.kept.run(job.calls)
            job = self.kept.job._replace(calls=job.calls, session=0)
            peak = self.kept.peak_memory_bytes() if reports and reports[-1].fate == wire.KEPT else None
            if peak is None:
                peak = self.drop_kept()
                reports[-1:] = [report._replace(fate=wire.RENEWED) for report in reports[-1:]]
            if reports:
                return [report._replace(peak_memory_bytes=peak) for report in reports]
        return [self._watch(job, self._begin(job, stdin), parent)]

    def drop_kept(self) -> int:
        """Ends the child that is kept, if one is; its peak memory."""
        if self.kept is None:
            return 0
        peak = self._end_all(self.kept.begun.pid)[2]
        self.kept.begun.close()
        self.kept = None
        empty_folder(self.scratch)
        return peak

    def _begin(self, job: wire.Job, stdin: int) -> Begun:
        """Forks the child. Its channel is a socket where it is to make several calls."""
        pipes = [os.pipe(), os.pipe(), _socket_pair() if job.session else os.pipe()]
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child.run_job(job, (stdin, pipes[0][1], pipes[1][1], pipes[2][1]), has_namespaces=self.has_namespaces)
        for _, write in pipes:
            os.close(write)
        return Begun(pid, os.pidfd_open(pid), [read for read, _ in pipes], started)

    def _watch(self, job: wire.Job, begun: Begun, parent: int) -> wire.Report:
        watch = _Watch(job, begun, self)
        try:
            watch.until_end(parent)
            wall_s = time.monotonic() - begun.started
            status, cpu_s, peak = self._end_all(begun.pid)
            cpu_s += watch.reaped_cpu_s
            watch.drain()
        finally:
            begun.close()
        empty_folder(self.scratch)
        gc.collect(0)
        stdout, stderr, channel = (bytes(kept) for kept in watch.kept)
        peak = max(peak, watch.peak)
        return wire.Report(watch.stopped, status, cpu_s, wall_s, peak, wire.ALONE, stdout, stderr, channel)

    def _end_all(self, pid: int) -> tuple[int, float, int]:
        """Kills whatever the child left, reaps it all: the child's status, the CPU time and the peak memory."""
        self.kill_all(pid)
        status, cpu_s, peak = 0, 0.0, 0
        deadline = time.monotonic() + MAX_ALIVE_S
        while True:
            try:
                ended, raw, usage = os.wait4(-1, 0 if self.has_namespaces else os.WNOHANG)
            except ChildProcessError:
                break
            if ended == 0:
                if time.monotonic() > deadline:
                    raise SpoiltError("a process outlived its program")
                self.kill_all(pid)
                time.sleep(0.001)
                continue
            cpu_s += usage.ru_utime + usage.ru_stime
            if ended == pid:
                status, peak = os.waitstatus_to_exitcode(raw), usage.ru_maxrss * 1024
        return status, cpu_s, peak

    def kill_all(self, pid: int) -> None:
        """In a process namespace of its own, one kill reaches all, and none can be born meanwhile: the kernel holds
        off forks while it goes through the list. Without one, only what can be found is killed."""
        if self.has_namespaces:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            return
        for victim in [pid, *self.processes()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def processes(self) -> list[int]:
        if self.has_namespaces:
            return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        found: list[int] = []
        waiting = [os.getpid()]
        while waiting:
            pid = waiting.pop()
            for text in (_read(f"/proc/{pid}/task/{task}/children") for task in _tasks(pid)):
                children = [int(word) for word in text.split()]
                found += children
                waiting += children
        return found


class _Watch:
    """Reads what a child writes and looks at what it uses."""

    def __init__(self, job: wire.Job, begun: Begun, supervisor: Supervisor) -> None:
        self.bounds = job.bounds
        output_bytes = job.bounds.output_bytes
        self.most_kept = (output_bytes, STDERR_KEPT, output_bytes + wire.most_code_bytes(job.source))
        self.pid = begun.pid
        self.handle = begun.handle
        self.readers = begun.readers
        self.started = begun.started
        self.supervisor = supervisor
        self.kept = [bytearray(), bytearray(), bytearray()]
        self.stopped = wire.NOT_STOPPED
        self.reaped_cpu_s = 0.0
        self.peak = 0
        self.num_stderr_bytes = 0
        self.idleness = Idleness()
        self.last_look = _clock_s()

    def until_end(self, parent: int) -> None:
        """Until the child itself has ended, or has to."""
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        poll.register(parent, 0)  # hang-ups only
        for reader in self.readers:
            os.set_blocking(reader, False)
            poll.register(reader, select.POLLIN)
        next_look = self.started + FIRST_LOOK_S
        while not self.stopped:
            events = poll.poll(max(0.0, next_look - time.monotonic()) * 1000)
            for descriptor, _ in events:
                if descriptor == parent:
                    os._exit(0)  # process 1 of the namespace: takes everything with it
                if descriptor in self.readers and not self._read(self.readers.index(descriptor)):
                    poll.unregister(descriptor)
            if any(descriptor == self.handle for descriptor, _ in events):
                return
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + LOOK_S
                if self.stopped == wire.STOPPED_WALL and _is_over(self.handle):
                    self.stopped = wire.NOT_STOPPED  # it ended while the look was late
                    return

    def drain(self) -> None:
        """What was written before the end and not read yet; at most what pipes hold, since no writer is left."""
        for index in range(len(self.readers)):
            while self._read(index):
                pass

    def _read(self, index: int) -> bool:
        """False when there is nothing more."""
        try:
            data = os.read(self.readers[index], READ_SIZE)
        except (BlockingIOError, ConnectionResetError):
            return False
        kept = self.kept[index]
        kept += data
        if index == 1:
            del kept[:-STDERR_KEPT]
            self.num_stderr_bytes += len(data)
            if self.num_stderr_bytes > STDERR_READ_MAX:
                self.stopped = self.stopped or wire.STOPPED_OUTPUT
        elif len(kept) > (most := self.most_kept[index]):
            del kept[most:]
            self.stopped = self.stopped or wire.STOPPED_OUTPUT
        return bool(data)

    def _look(self) -> None:
        """CPU time and memory of the whole tree; what it slept or waited, save for a core that others had."""
        cpu_s, memory, threads = self._census()
        now = _clock_s()
        self.idleness.look(threads, now - self.last_look)
        self.last_look = now
        if cpu_s > self.bounds.cpu_s:
            self.stopped = wire.STOPPED_CPU
        elif memory > self.bounds.memory_bytes:
            self.stopped = wire.STOPPED_MEMORY
        elif (
            cpu_s + self.idleness.certain_s > self.bounds.wall_s
            or time.monotonic() - self.started > self.bounds.wall_under_load_s
        ):
            self.stopped = wire.STOPPED_WALL

    def _census(self) -> tuple[float, int, dict[int, Thread]]:
        self._reap_orphans()
        cpu_s, memory = self.reaped_cpu_s, 0
        threads: dict[int, Thread] = {}
        pids = self.supervisor.processes()
        for pid in pids:
            stat = _read(f"/proc/{pid}/stat")
            fields = stat.rpartition(")")[2].split()
            if fields:
                cpu_s += sum(map(int, fields[11:15])) / TICKS
                memory += int(fields[21]) * PAGE
            for task in _tasks(pid):
                folder = f"/proc/{pid}/task/{task}"
                stats = _read(f"{folder}/stat"), _read(f"{folder}/schedstat")
                if thread := read_thread(*stats, self.supervisor.usual_nice):
                    threads[int(task)] = thread
        if memory > self.bounds.memory_bytes and len(pids) > 1:  # shared pages were counted more than once
            memory = sum(map(_proportional_bytes, pids))
        self.peak = max(self.peak, memory)
        return cpu_s, memory, threads

    def _reap_orphans(self) -> None:
        """Ended grandchildren whose parents are gone; the child itself is left for the end."""
        for pid in self.supervisor.processes():
            if pid == self.pid:
                continue
            try:
                ended, _, usage = os.wait4(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if ended:
                self.reaped_cpu_s += usage.ru_utime + usage.ru_stime


def _socket_pair() -> tuple[int, int]:
    ours, theirs = _socket.socketpair()
    return ours.detach(), theirs.detach()


def _clock_s() -> float:
    """A clock that stands still while this process itself is kept from a core: what waits for it is not idle then."""
    times = _read("/proc/self/schedstat").split()
    return time.monotonic() - (int(times[1]) / 1e9 if times else 0.0)


def _is_over(handle: int) -> bool:
    return bool(select.select([handle], [], [], 0)[0])


def _proportional_bytes(pid: int) -> int:
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _read(path: str) -> str:
    """Empty where the process is gone."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
