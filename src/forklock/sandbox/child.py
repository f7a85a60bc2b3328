"""What a child does between its fork and its end. Everything here runs beside the program, so nothing here decides.

The program can reach and change all of this module. What it can gain that way is another raw result, which the
parent compares as it compares any other.
"""

# No pathlib in what a zygote loads: each child would pay for it.
# ruff: noqa: PTH109, PTH123

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import gc
import marshal
import os
import resource
import sys
import time
from types import CodeType
from typing import Any, NoReturn

from forklock.sandbox import linux, python_main, wire
from forklock.sandbox.encoding import encode

CHANNEL = 3
"""Descriptor to the zygote: the compiled code of the first child, the value of a call. A socket where several calls
are made, by which their arguments come."""
SCRIPT_NAME = "script"
NOT_FOUND = 127
NO_STDIN = -1
"""In the place of a descriptor: nothing is there to be read."""
READ_SIZE = 1 << 16
PAGE = os.sysconf("SC_PAGESIZE")
MAX_GROWTH_BYTES = 64 << 20
"""By which a process that makes several calls may grow. A call that wants more is made alone."""
MOMENT_S = 0.005
"""More than most calls take together. Whoever has asked for several may not want them all."""
fork_hooks: list[dict[str, Any]] = []
"""What the zygote's modules want done around a fork. For forks of the program, not for the zygote's own."""


def run_job(job: wire.Job, descriptors: tuple[int, int, int, int], *, has_namespaces: bool) -> NoReturn:
    """Never returns. `descriptors` become 0, 1, 2 and the channel."""
    code = 1
    try:
        _prepare(job, descriptors, has_namespaces=has_namespaces)
        if job.kind == wire.SCRIPT:
            _become(job)
        compiled = _load(job)
        if job.session:
            _make_calls(job, compiled)
        if job.kind == wire.PROGRAM:
            os.close(CHANNEL)
            code = python_main.run_as_main(compiled)
        else:
            code, value = python_main.call(compiled, job.entry_point, marshal.loads(job.calls[0]))
            if code == 0:
                _send(encode(value).encode())
    except RecursionError:
        _complain("the value is nested too deeply")
    except MemoryError:
        _complain("MemoryError")
    finally:
        os._exit(code)


def _make_calls(job: wire.Job, compiled: CodeType) -> None:
    """One call after the other, as long as each ends plainly; each in a module that has just been loaded. If one does
    not, this process ends without an answer to it: the zygote has it made again, in a process of its own."""
    recursion_limit = sys.getrecursionlimit()
    code = 0
    while code == 0:
        asked = marshal.loads(_receive_frame())
        until_s = time.perf_counter() + MOMENT_S
        answers = b""
        for arguments in asked:
            sys.setrecursionlimit(recursion_limit)
            code, value = python_main.call(compiled, job.entry_point, marshal.loads(arguments))
            if code != 0:
                break
            answers += wire.pack_frame(encode(value).encode())
            if len(answers) > wire.ENOUGH_BYTES or time.perf_counter() > until_s:
                break
        if answers:
            _send(wire.pack_frame(answers))
            if code != 0:
                _receive_frame()  # the next that is asked for is the one that failed
    os._exit(code)


def _receive_frame() -> bytes:
    """Ends the process when no more come."""
    data = os.read(CHANNEL, READ_SIZE)
    if not data:
        os._exit(0)
    length = wire.LENGTH_BYTES + wire.unpack_length(data[: wire.LENGTH_BYTES])
    if len(data) < length:
        pieces = bytearray(data)
        while len(pieces) < length:
            pieces += os.read(CHANNEL, length - len(pieces)) or os._exit(0)
        data = bytes(pieces)
    return data[wire.LENGTH_BYTES :]


def _prepare(job: wire.Job, descriptors: tuple[int, int, int, int], *, has_namespaces: bool) -> None:
    bounds = job.bounds
    os.setsid()
    if descriptors[0] == NO_STDIN:
        descriptors = (os.open(os.devnull, os.O_RDONLY), *descriptors[1:])
    for target, descriptor in enumerate(descriptors):
        if descriptor != target:
            os.dup2(descriptor, target, inheritable=target != CHANNEL)
    os.closerange(CHANNEL + 1, 256)
    for kind, wanted in (
        (resource.RLIMIT_NPROC, 1 if job.session else bounds.num_processes),
        (resource.RLIMIT_AS, min(bounds.memory_bytes, _most_kept_bytes()) if job.session else bounds.memory_bytes),
        (resource.RLIMIT_CPU, int(bounds.cpu_s) + 2),  # the zygote is exact; this holds if it can't look
        (resource.RLIMIT_FSIZE, bounds.file_bytes),
        (resource.RLIMIT_NOFILE, bounds.num_open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        if kind == resource.RLIMIT_NPROC and not has_namespaces:
            continue  # it would count what the user runs elsewhere
        _limit(kind, wanted, wanted)
    if has_namespaces:
        linux.lose_capabilities()
    linux.be_dumpable()  # the zygote is not: without this, /dev/stdin would be out of reach
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)  # not by `signal`, which makes an enum of each number
    for hook in fork_hooks:
        os.register_at_fork(**hook)
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._main_thread._native_id = os.getpid()
    gc.enable()


def _most_kept_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * PAGE + MAX_GROWTH_BYTES


def _limit(kind: int, soft: int, hard: int) -> None:
    highest = resource.getrlimit(kind)[1]
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))


def _load(job: wire.Job) -> CodeType:
    """The program's code. The first child compiles, and hands it out before any line of the program runs, unless it is
    to make all calls itself."""
    name = f"{os.getcwd()}/{python_main.FILE_NAME}"
    with open(name, "wb") as file:
        file.write(job.source)
    if job.code:
        loaded = marshal.loads(job.code)
        assert isinstance(loaded, CodeType)
        return loaded
    try:
        code = compile(job.source, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, OverflowError) as error:
        _send(wire.SYNTAX_ERROR)
        sys.excepthook(type(error), error.with_traceback(None), None)
        sys.stderr.flush()
        os._exit(1)
    if not job.session:
        _send(wire.pack_code(marshal.dumps(code)))
    return code


def _become(job: wire.Job) -> NoReturn:
    with open(SCRIPT_NAME, "wb") as file:
        file.write(job.source)
    for restored in (_signal.SIGPIPE, _signal.SIGXFSZ):  # ignored by Python, expected by others
        _signal.signal(restored, _signal.SIG_DFL)
    try:
        os.execvp(job.command[0], [*job.command, SCRIPT_NAME])
    except OSError as error:
        _complain(f"{job.command[0]}: {error.strerror}")
        os._exit(NOT_FOUND)


def _send(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(CHANNEL, view) :]


def _complain(text: str) -> None:
    os.write(2, text.encode() + b"\n")
