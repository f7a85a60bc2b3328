"""The zygote's side of a child that makes several calls of one function; `child.make_calls` is the other.

Nothing but a plain answer counts: whatever else happens, the test is run again, in a process of its own. Short tests
only: one that takes over 4% of its limit is given up and run again alone, so that a hang costs no more than it may,
and limits are watched where they are always watched. Such a child may start no thread and no process, so that its own
clock has all the time that its program uses.
"""

from __future__ import annotations

import _socket
import os
import select
import struct
import time
from dataclasses import dataclass

from forklock.sandbox import wire

SHARE_OF_LIMIT = 0.04
"""Of the CPU limit, that a test may use or wait."""
MAX_GROWTH_BYTES = 64 << 20
"""Of what the process held at most, from its first answer on."""
MOMENT_S = 0.01
"""More than most calls together take: who has asked for several may not want them all."""
READ_SIZE = 1 << 16
STDERR_KEPT = 16_384


@dataclass
class Begun:
    """A child that runs."""

    pid: int
    handle: int
    readers: list[int]
    """Its stdout, its stderr, its channel."""
    started: float

    def close(self) -> None:
        for descriptor in (self.handle, *self.readers):
            os.close(descriptor)


class Kept:
    """Lives from the first call of its program until it may not be used again, or no more calls come."""

    def __init__(self, job: wire.Job, begun: Begun, parent: int) -> None:
        self.job = job
        self.begun = begun
        self.parent = parent
        self.longest_s = SHARE_OF_LIMIT * job.bounds.cpu_s
        self.channel = begun.readers[2]
        limit = struct.pack("@qq", *divmod(int(self.longest_s * 1e6), 1_000_000))
        with_limit = _socket.socket(fileno=self.channel)
        with_limit.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
        with_limit.detach()
        self.clock = ~begun.pid << 3 | 2  # CPU time of the process, numbered as clock_getcpuclockid does
        self.used_s = 0.0
        """CPU time up to its last answer. What it uses before it is asked again is the next test's."""
        self.status = -1
        self.usual_bytes = 0
        self.poll = select.poll()
        self.poll.register(self.channel, select.POLLIN)  # first: with an answer, all that was printed before is seen
        for reader in (begun.handle, *begun.readers[:2]):
            self.poll.register(reader, select.POLLIN)
        self.poll.register(parent, 0)  # hang-ups only

    def close(self) -> None:
        if self.status >= 0:
            os.close(self.status)
        self.begun.close()

    def run(self, calls: tuple[bytes, ...], reports: list[wire.Report]) -> bool:
        """Makes calls until they have taken a moment, and reports them. False: the next had no plain answer, so that it
        has to be made again, alone."""
        started = time.monotonic()
        for arguments in calls:
            report = self._call(arguments)
            if report is None:
                return False
            reports.append(report)
            if report.reuse != wire.KEPT or time.monotonic() - started > MOMENT_S:
                break
        return True

    def _call(self, arguments: bytes) -> wire.Report | None:
        started = time.monotonic()
        texts = bytearray(), bytearray(), bytearray()
        try:
            if not (self._send(wire.pack_frame(arguments), started) and self._receive(texts, started)):
                return None
            cpu_s = time.clock_gettime(self.clock) - self.used_s
            peak = self._peak_memory_bytes()
        except OSError:  # it is gone, or does not listen, or has hidden itself
            return None
        self.usual_bytes = self.usual_bytes or peak
        if cpu_s > self.longest_s or peak - self.usual_bytes > MAX_GROWTH_BYTES:
            return None
        self.used_s += cpu_s
        is_used_up = self.used_s > self.job.bounds.cpu_s / 2  # the kernel ends it at its limit
        wall_s = time.monotonic() - started
        stdout, stderr, channel = map(bytes, texts)
        payload = channel[wire.LENGTH_BYTES :]
        if not self.job.code:  # the parent has it now: a child that compiled again would send it before its value
            self.job = self.job._replace(code=wire.split_code(payload)[0])
        reuse = wire.RENEWED if is_used_up else wire.KEPT
        return wire.Report(wire.NOT_STOPPED, 0, cpu_s, wall_s, peak, reuse, stdout, stderr, payload)

    def _send(self, message: bytes, started: float) -> bool:
        """False where it takes too long to listen."""
        sent = os.write(self.channel, message)
        while sent < len(message):
            if time.monotonic() - started > self.longest_s:
                return False
            sent += os.write(self.channel, memoryview(message)[sent:])
        return True

    def _receive(self, texts: tuple[bytearray, bytearray, bytearray], started: float) -> bool:
        """One answer, and what was printed. False where it ended, took too long, or wrote anything else."""
        length = wire.LENGTH_BYTES
        most = self.job.bounds.output_bytes, STDERR_KEPT, self._most_answer_bytes()
        while len(texts[2]) < length:
            left_s = started + self.longest_s - time.monotonic()
            ready = {descriptor for descriptor, _ in self.poll.poll(left_s * 1000)} if left_s > 0 else set()
            if self.parent in ready:
                os._exit(0)  # process 1 of the namespace: takes everything with it
            if not ready or self.begun.handle in ready:
                return False
            for reader, text, most_bytes in zip(self.begun.readers, texts, most, strict=True):
                if reader in ready:
                    data = os.read(reader, READ_SIZE)
                    text += data
                    if not data or len(text) > most_bytes:
                        return False
            if length == wire.LENGTH_BYTES and len(texts[2]) >= length:
                length += wire.unpack_length(texts[2][:length])
        return len(texts[2]) == length

    def _most_answer_bytes(self) -> int:
        most = self.job.bounds.output_bytes + wire.LENGTH_BYTES
        return most if self.job.code else most + wire.most_code_bytes(self.job.source)

    def _peak_memory_bytes(self) -> int:
        """Of its whole life; a process has no other peak."""
        if self.status < 0:  # it can't be seen before it has answered
            self.status = os.open(f"/proc/{self.begun.pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        status = os.pread(self.status, 4096, 0)
        start = status.index(b"VmHWM:") + 6
        return int(status[start : status.index(b" kB", start)]) * 1024
