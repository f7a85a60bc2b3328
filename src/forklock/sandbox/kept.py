"""The zygote's side of a child that makes several calls of one function; `child._make_calls` is the other.

Nothing but a plain answer counts: whatever else happens, the call is made again, in a process of its own. Short calls
only: what takes over 4% of the limit is given up and made again alone, so that a hang costs no more than it may, and
limits are watched where they are always watched. Such a child may start no thread and no process, so that its own
clock has all the time that its program uses, and no more than a little memory.
"""

# No pathlib in what a zygote loads: each child would pay for it.
# ruff: noqa: PTH123

from __future__ import annotations

import _socket
import contextlib
import marshal
import os
import select
import struct
import time
from dataclasses import dataclass

from forklock.sandbox import wire

SHARE_OF_LIMIT = 0.04
"""Of the CPU limit, that the calls which are answered together may use or wait."""
READ_SIZE = 1 << 16
SENT_BYTES = 1 << 15
"""At a time: the kernel waits for a reader before each of its buffers, and each wait has the time limit anew."""
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
        output_bytes = job.bounds.output_bytes
        self.most_bytes = output_bytes, STDERR_KEPT, output_bytes + wire.ENOUGH_BYTES
        self.clock = ~begun.pid << 3 | 2  # CPU time of the process, numbered as clock_getcpuclockid does
        self.used_s = 0.0
        """CPU time up to its last answer. What it uses before it is asked again is the next call's."""
        self.poll = select.poll()
        self.poll.register(self.channel, select.POLLIN)  # first: with an answer, all that was printed before is seen
        for reader in (begun.handle, *begun.readers[:2]):
            self.poll.register(reader, select.POLLIN)
        self.poll.register(parent, 0)  # hang-ups only

    def run(self, calls: tuple[bytes, ...]) -> list[wire.Report]:
        """Has calls made until they have taken a moment, and reports them. None: the first had no plain answer, so that
        it has to be made again, alone."""
        started = time.monotonic()
        texts = bytearray(), bytearray(), bytearray()
        try:
            is_sent = self._send(wire.pack_frame(marshal.dumps(calls)), started)
            answers = wire.split_frames(self._receive(texts, started), len(calls)) if is_sent else []
            cpu_s = time.clock_gettime(self.clock) - self.used_s
        except OSError:  # it is gone, or does not listen
            return []
        if not answers or cpu_s > self.longest_s:
            return []
        self.used_s += cpu_s
        is_used_up = self.used_s > self.job.bounds.cpu_s / 2  # the kernel ends it at its limit
        cpu_s, wall_s = cpu_s / len(answers), (time.monotonic() - started) / len(answers)
        reports = [wire.Report(wire.NOT_STOPPED, 0, cpu_s, wall_s, 0, wire.KEPT, b"", b"", text) for text in answers]
        fate = wire.RENEWED if is_used_up else wire.KEPT
        reports[-1] = reports[-1]._replace(fate=fate, stdout=bytes(texts[0]), stderr=bytes(texts[1]))
        return reports

    def peak_memory_bytes(self) -> int | None:
        """Of its life so far: there is no other that can be trusted. None where it is gone, or has hidden itself."""
        with contextlib.suppress(OSError), open(f"/proc/{self.begun.pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
        return None

    def _send(self, message: bytes, started: float) -> bool:
        """False where it takes too long to listen."""
        sent = os.write(self.channel, message[:SENT_BYTES])
        while sent < len(message):
            if time.monotonic() - started > self.longest_s:
                return False
            sent += os.write(self.channel, message[sent : sent + SENT_BYTES])
        return True

    def _receive(self, texts: tuple[bytearray, bytearray, bytearray], started: float) -> bytes:
        """One frame, and what was printed. Empty where it ended, took too long, or wrote anything else."""
        channel = texts[2]
        length: int | None = None
        while length is None or len(channel) < length:
            left_s = started + self.longest_s - time.monotonic()
            if left_s <= 0 or not (events := self.poll.poll(left_s * 1000)):
                return b""
            for descriptor, _ in events:
                if descriptor == self.parent:
                    os._exit(0)  # process 1 of the namespace: takes everything with it
                if descriptor == self.begun.handle:
                    return b""
                index = self.begun.readers.index(descriptor)
                data = os.read(descriptor, READ_SIZE)
                texts[index].extend(data)
                if not data or len(texts[index]) > self.most_bytes[index]:
                    return b""
            if length is None and len(channel) >= wire.LENGTH_BYTES:
                length = wire.LENGTH_BYTES + wire.unpack_length(channel[: wire.LENGTH_BYTES])
        return bytes(channel[wire.LENGTH_BYTES :]) if len(channel) == length else b""
