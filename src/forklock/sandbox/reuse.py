"""The child's side of a process that several tests of one program share, once `purity.py` has admitted the program.

Each test gets a module, streams and a standard input of its own. Whatever isn't a plain end (an exception, an exit
status, a value that can't be written), and whatever is afterwards not as it was before, ends the process without an
answer: the zygote then runs that test again, in a process of its own, and only that counts.
"""

# No pathlib in what a zygote loads: each child would pay for it.
# ruff: noqa: PTH208

from __future__ import annotations

import _socket
import _thread
import gc
import io
import marshal
import operator
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FunctionType
from typing import NoReturn

from forklock.sandbox import admitted, python_main, wire
from forklock.sandbox.encoding import encode

MAX_GROWTH_BYTES = 64 << 20
"""A process that has grown by more is not used again."""
PAGE = os.sysconf("SC_PAGESIZE")
STATM = "/proc/self/statm"
CHANNEL = 3
RESET_PEAK = "/proc/self/clear_refs"


class _UnlikeAloneError(Exception):
    """This test has to be run again, alone."""


def serve(job: wire.Job, code: CodeType, surroundings: Surroundings, first_words: bytes) -> NoReturn:
    """Runs test after test. `first_words` go before the first answer."""
    control = _socket.socket(fileno=CHANNEL)
    recursion_limit = sys.getrecursionlimit()
    sys.path.insert(0, os.path.dirname(code.co_filename))  # noqa: PTH120
    statm = os.open(STATM, os.O_RDONLY | os.O_CLOEXEC)
    peak = os.open(RESET_PEAK, os.O_WRONLY | os.O_CLOEXEC)
    start_bytes = _address_bytes(statm)
    limit_bytes = job.bounds.memory_bytes
    most_bytes = resource.getrlimit(resource.RLIMIT_AS)[1]
    surroundings.remember()
    while True:
        arguments = _receive_test(control)
        grown_bytes = max(0, _address_bytes(statm) - start_bytes)
        resource.setrlimit(resource.RLIMIT_AS, (min(limit_bytes + grown_bytes, most_bytes), most_bytes))
        os.write(peak, b"5")
        sys.setrecursionlimit(recursion_limit)
        payload = _run(job, code, arguments)
        sys.setrecursionlimit(recursion_limit)
        surroundings.check()
        goes_on = _address_bytes(statm) - start_bytes < MAX_GROWTH_BYTES and time.process_time() < job.bounds.cpu_s / 2
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        control.sendall(wire.pack_answer(goes_on=goes_on, peak_memory_bytes=peak_bytes, payload=first_words + payload))
        first_words = b""


def _run(job: wire.Job, code: CodeType, arguments: bytes) -> bytes:
    """One test: what a call returned, written; of a program, nothing."""
    _renew_streams()
    payload, value = b"", None
    if job.kind == wire.PROGRAM:
        status = python_main.run_as_main(code, is_shared=True)
    else:
        status, value = python_main.call(code, job.entry_point, marshal.loads(arguments), is_shared=True)
        payload = encode(value).encode()
        sys.modules.pop(python_main.MODULE_NAME, None)
    if status != 0 or _thread._count():
        raise _UnlikeAloneError
    return payload


def _renew_streams() -> None:
    """As the interpreter makes them at its start."""
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        old = getattr(sys, f"__{name}__")
        text = io.TextIOWrapper(
            open(descriptor, mode + "b", closefd=False),  # noqa: SIM115 - lives as long as the test
            encoding=old.encoding,
            errors=old.errors,
            newline="\n",
            line_buffering=old.line_buffering,
            write_through=old.write_through,
        )
        text.mode = mode  # type: ignore[misc]
        setattr(sys, name, text)


def _receive_test(control: _socket.socket) -> bytes:
    """The arguments; the standard input is in place. Ends the process when there is no test any more."""
    head, ancillary, _, _ = control.recvmsg(4, 64)
    if not head:
        os._exit(0)
    for _, _, data in ancillary:
        [stdin] = struct.unpack("i", data)
        if stdin == 0:  # where the program has closed its own
            os.set_inheritable(0, True)
        else:
            os.dup2(stdin, 0)
            os.close(stdin)
    while len(head) < wire.LENGTH_BYTES:
        head += control.recv(wire.LENGTH_BYTES - len(head))
    body = bytearray()
    length = wire.unpack_length(head)
    while len(body) < length:
        piece = control.recv(min(1 << 20, length - len(body)))
        if not piece:
            os._exit(0)
        body += piece
    return bytes(body)


def _address_bytes(statm: int) -> int:
    return int(os.pread(statm, 64, 0).split(b" ", 1)[0]) * PAGE


class Surroundings:
    """What an admitted program shares with the next test, and must leave as it was."""

    def __init__(self, modules: frozenset[str]) -> None:
        """`modules`: those that the program can name."""
        self.places = [_Place(*found) for found in _places(modules)]
        self.clear: list[Callable[[], object]] = [sys.modules["re"].purge]
        if "typing" in modules:
            self.clear += sys.modules["typing"]._cleanups
        self.getcontext = sys.modules["decimal"].getcontext
        self.of_zygote = sys.modules.pop("__main__", None)  # held, so that nothing of it is finalised
        self.others: tuple[object, ...] = ()

    def remember(self) -> None:
        gc.collect()
        gc.freeze()
        for _ in range(2):  # the first look makes what the second counts
            self.others = self._look()

    def check(self) -> None:
        """Nothing that the test made is left, nothing that was there has changed."""
        if self._look() != self.others:
            raise _UnlikeAloneError
        if not all(place.is_as_it_was() for place in self.places):
            raise _UnlikeAloneError

    def _look(self) -> tuple[object, ...]:
        sys.stdin = sys.stdout = sys.stderr = None
        os.dup2(1, 0)  # the program may have closed it, and the next test brings its own
        for clear in self.clear:
            clear()
        gc.collect()
        context = self.getcontext()
        return (
            len(gc.get_objects()),
            len(os.listdir("/proc/self/fd")),
            len(sys.modules),
            len(os.environ),
            sys.get_int_max_str_digits(),
            context.prec,
            context.rounding,
        )


class _Place:
    """What a module, a class or a function keeps under some of its names, and how many it has."""

    def __init__(self, items: Mapping[str, object], names: Iterable[str]) -> None:
        self.items = items
        self.size = len(items)
        self.names = tuple(names)
        self.values = tuple(map(items.get, self.names))

    def is_as_it_was(self) -> bool:
        return len(self.items) == self.size and all(map(operator.is_, map(self.items.get, self.names), self.values))


def _places(modules: frozenset[str]) -> Iterable[tuple[Mapping[str, object], Iterable[str]]]:
    """Builtins, and whatever of modules an admitted program can name. Of what it can't, only the number is looked at.
    `sys` itself changes with every test."""
    builtins = vars(sys.modules["builtins"])
    yield builtins, builtins
    for name in sorted(modules):
        items = vars(sys.modules[name])
        words = " ".join(
            kinds.get(name, "") for kinds in (admitted.VALUES, admitted.CALLED, admitted.ANNOTATES)
        ).split()
        names = words or [word for word in items if not word.startswith("_")]
        if name != "sys":
            yield items, names
        for value in map(items.get, names):
            is_fixed = isinstance(value, type) and not value.__flags__ & admitted.HEAP_TYPE
            if isinstance(value, type | FunctionType) and not is_fixed:
                yield vars(value), vars(value)
