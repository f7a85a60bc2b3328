"""The zygote's side of a child that several tests of one program share; `reuse.py` is the child's.

Short tests only: one that takes over 4% of its limit is given up and run again, alone, so that a hang costs no more
than it may, and limits are watched where they are always watched.
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
"""Of CPU time; of wall time it may be ten times that, for a machine that is busy with something else."""
READ_SIZE = 1 << 16
SEND_S = 5
"""How long a child that was admitted may take to listen."""
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

    def first_word(self, longest_s: float, parent: int) -> bytes:
        """What its channel says first; empty where it says nothing."""
        poll = select.poll()
        poll.register(self.readers[2], select.POLLIN)
        poll.register(self.handle, select.POLLIN)
        poll.register(parent, 0)  # hang-ups only
        ready = {descriptor for descriptor, _ in poll.poll(longest_s * 1000)}
        if parent in ready:
            os._exit(0)
        return os.read(self.readers[2], 1) if self.readers[2] in ready else b""


class Kept:
    """Lives from the first test of its program until it may not be used again, or another program comes."""

    def __init__(self, job: wire.Job, begun: Begun, parent: int) -> None:
        self.job = job
        self.begun = begun
        self.parent = parent
        self.most_kept = (
            job.bounds.output_bytes,
            STDERR_KEPT,
            job.bounds.output_bytes + wire.most_code_bytes(job.source),
        )
        self.socket = _socket.socket(fileno=os.dup(begun.readers[2]))
        self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("@qq", SEND_S, 0))
        self.clock = ~begun.pid << 3 | 2  # CPU time of the process, numbered as clock_getcpuclockid does
        self.poll = select.poll()
        self.poll.register(parent, 0)  # hang-ups only
        self.poll.register(begun.handle, select.POLLIN)
        for reader in begun.readers:
            self.poll.register(reader, select.POLLIN)
        for reader in begun.readers[:2]:
            os.set_blocking(reader, False)

    def run(self, arguments: bytes, stdin: int) -> wire.Report | None:
        """None: no plain end, so the test has to be run again, alone."""
        started, used_s = time.monotonic(), time.clock_gettime(self.clock)
        if not self._send(wire.pack_test(arguments), stdin):
            return None
        texts = (bytearray(), bytearray(), bytearray())
        length = wire.ANSWER_HEAD_BYTES
        goes_on, peak = False, -1
        while len(texts[2]) < length:
            if not self._receive(texts):
                return None
            longest_s = SHARE_OF_LIMIT * self.job.bounds.cpu_s
            if time.clock_gettime(self.clock) - used_s > longest_s or time.monotonic() - started > 10 * longest_s:
                return None
            if peak < 0 and len(texts[2]) >= wire.ANSWER_HEAD_BYTES:
                goes_on, peak, rest = wire.unpack_answer_head(bytes(texts[2][: wire.ANSWER_HEAD_BYTES]))
                length += rest
        wall_s, cpu_s = time.monotonic() - started, time.clock_gettime(self.clock) - used_s
        for index in (0, 1):
            while self._read(index, texts[index]):
                pass
            if len(texts[index]) > self.most_kept[index]:
                return None
        stdout, stderr, channel = (bytes(text) for text in texts)
        reuse = wire.KEPT if goes_on else wire.RENEWED
        payload = channel[wire.ANSWER_HEAD_BYTES :]
        if not self.job.code:  # the parent has it now: a child that compiled again would send it before its value
            self.job = self.job._replace(code=wire.split_code(payload)[0])
        return wire.Report(wire.NOT_STOPPED, 0, cpu_s, wall_s, peak, reuse, stdout, stderr, payload)

    def _send(self, message: bytes, stdin: int) -> bool:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", stdin))]
        try:
            sent = self.socket.sendmsg([message], ancillary)
            self.socket.sendall(memoryview(message)[sent:])
        except OSError:  # it is gone, or does not listen
            return False
        return True

    def _receive(self, texts: tuple[bytearray, ...]) -> bool:
        """Waits a little for something to read. False: the child ended, or wrote too much."""
        ready = [descriptor for descriptor, _ in self.poll.poll(SHARE_OF_LIMIT * self.job.bounds.cpu_s * 1000)]
        if self.parent in ready:
            os._exit(0)  # process 1 of the namespace: takes everything with it
        if self.begun.handle in ready:
            return False
        for index, reader in enumerate(self.begun.readers):
            if reader in ready and not (self._read(index, texts[index]) and len(texts[index]) <= self.most_kept[index]):
                return False
        return True

    def _read(self, index: int, text: bytearray) -> bool:
        """False when there is nothing more now."""
        try:
            data = os.read(self.begun.readers[index], READ_SIZE)
        except (BlockingIOError, ConnectionResetError):
            return False
        text += data
        return bool(data)
