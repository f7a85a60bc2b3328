"""What goes between the parent and a zygote: jobs in, reports out.

Jobs are marshalled, because they come from the side that is trusted. Reports are numbers in a fixed layout and raw
bytes, because nothing that has been near a program may be unpickled or unmarshalled by the parent.
"""

from __future__ import annotations

import marshal
import struct
from collections.abc import Iterator
from typing import NamedTuple

PROGRAM, FUNCTION, SCRIPT = range(3)
"""Kinds of job: a program with stdin and stdout; one call of a function; any command."""

NOT_STOPPED, STOPPED_CPU, STOPPED_WALL, STOPPED_MEMORY, STOPPED_OUTPUT = range(5)
"""Why the zygote ended a child."""

NO_CODE, SYNTAX_ERROR, CODE = b"", b"S", b"C"
"""First byte on a child's channel: it died before it had compiled; it could not compile; its code follows."""

ALONE, KEPT, RENEWED = range(3)
"""What became of a child that might have been kept for more calls: it was not, and none of the program's is to be
again; it waits for the next call; it ended, and another may be begun."""
FORGET = b"\0\0\0\0"
"""In the place of a job: no more calls of the program whose child is kept. There is no report of it."""


class Bounds(NamedTuple):
    """`limits.Limits` as the zygote needs it, without what would have to be imported for it."""

    cpu_s: float
    wall_s: float
    wall_under_load_s: float
    memory_bytes: int
    output_bytes: int
    file_bytes: int
    num_processes: int
    num_open_files: int


class Job(NamedTuple):
    """One child to run."""

    kind: int
    bounds: Bounds
    source: bytes
    code: bytes
    """The program compiled, by an earlier child; empty for the first. Bytes for everyone but a child."""
    entry_point: str
    calls: tuple[bytes, ...]
    """The arguments of each, marshalled for the child alone; several only where it may be kept."""
    command: tuple[str, ...]
    session: int = 0
    """Not 0: the child is to be kept for more calls, which come with this number and without the source."""


class Setup(NamedTuple):
    """What a zygote has to know once."""

    is_unsafe: bool
    scratch: str
    """The working folder of programs, in a file system of their own."""
    scratch_bytes: int
    """How much it holds."""
    python_folders: tuple[str, ...]
    """Folders that imports read, besides /usr."""
    preload: tuple[str, ...]
    unisolated_scratch: str
    """The working folder where there is no file system of its own; empty where that isn't allowed."""


class Report(NamedTuple):
    """What a zygote saw of one child."""

    stopped: int
    exit_status: int
    cpu_s: float
    wall_s: float
    peak_memory_bytes: int
    fate: int
    """`KEPT` and the others."""
    stdout: bytes
    stderr: bytes
    channel: bytes


_LENGTH = struct.Struct("=I")
_REPORT = struct.Struct("=iiddqiIII")


def most_code_bytes(source: bytes) -> int:
    """More than any compiler needs; what a child sends beyond this is not code."""
    return 32 * len(source) + (1 << 16)


def pack_job(job: Job | Setup) -> bytes:
    body = marshal.dumps(tuple(tuple(field) if isinstance(field, Bounds) else field for field in job))
    return _LENGTH.pack(len(body)) + body


def unpack_job(body: bytes) -> Job:
    kind, bounds, *rest = marshal.loads(body)  # from the parent
    return Job(kind, Bounds(*bounds), *rest)


def unpack_setup(body: bytes) -> Setup:
    return Setup(*marshal.loads(body))  # from the parent


def unpack_length(head: bytes | bytearray) -> int:
    return int(_LENGTH.unpack(head)[0])


LENGTH_BYTES = _LENGTH.size


def pack_reports(reports: list[Report]) -> bytes:
    parts: list[bytes] = []
    for report in reports:
        blobs = (report.stdout, report.stderr, report.channel)
        parts += (_REPORT.pack(*report[:6], *map(len, blobs)), *blobs)
    return b"".join((_LENGTH.pack(sum(map(len, parts))), *parts))


def unpack_reports(data: bytes | bytearray) -> Iterator[Report]:
    start, view = 0, bytes(data)
    while start < len(view):
        *numbers, stdout, stderr, channel = _REPORT.unpack_from(view, start)
        start += _REPORT.size
        blobs = []
        for length in (stdout, stderr, channel):
            blobs.append(view[start : start + length])
            start += length
        yield Report(*numbers, *blobs)


ENOUGH_BYTES = 1 << 16
"""Of answers, at a time."""


def pack_frame(content: bytes) -> bytes:
    """Between a kept child and its zygote: the arguments of calls; answers, each in a frame of its own."""
    return _LENGTH.pack(len(content)) + content


def split_frames(data: bytes, most: int) -> list[bytes]:
    """None of them where they don't fill it, or are more."""
    frames: list[bytes] = []
    start = 0
    while start + LENGTH_BYTES <= len(data) and len(frames) < most:
        end = start + LENGTH_BYTES + unpack_length(data[start : start + LENGTH_BYTES])
        frames.append(data[start + LENGTH_BYTES : end])
        start = end
    return frames if start == len(data) else []


def pack_code(body: bytes) -> bytes:
    return CODE + _LENGTH.pack(len(body)) + body


def split_code(channel: bytes) -> tuple[bytes, bytes]:
    """The code that a first child sent, and what came after it; no code where not all of it came."""
    end = 1 + LENGTH_BYTES
    if channel[:1] != CODE or len(channel) < end:
        return b"", channel
    end += unpack_length(channel[1:end])
    return (channel[1 + LENGTH_BYTES : end] if len(channel) >= end else b""), channel[end:]
