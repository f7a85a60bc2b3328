"""The small warm process that forks a child for each test; started by `worker.py`, as `python -c`, with one socket.

    launcher    outside the process namespace: makes the namespaces, forks the zygote, waits for it
    zygote      process 1 inside: reads jobs, forks children, reports what became of them

The zygote ends when the socket's other end closes, and with it ends everything in its namespace.
"""

from __future__ import annotations

import _socket
import gc
import importlib
import os
import signal
import struct
import sys
from collections.abc import Iterable
from typing import Any

from forklock.sandbox import child, isolation, linux, wire
from forklock.sandbox.supervise import Supervisor

READY, REFUSED = b"R", b"N"


def main(socket_number: int) -> None:
    control = _socket.socket(fileno=socket_number)
    setup = wire.unpack_setup(_receive(control)[0])
    missing = isolation.Missing()
    has_namespaces = isolation.enter_namespaces(missing)
    if has_namespaces:
        zygote = os.fork()
        if zygote:
            control.close()
            os._exit(os.waitstatus_to_exitcode(os.waitpid(zygote, 0)[1]) != 0)
        isolation.build_root(setup, missing)
    else:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    _prefer_inner_paths(setup, has_namespaces=has_namespaces)
    isolation.drop_privileges(missing, has_namespaces=has_namespaces)
    if has_namespaces:
        isolation.check_process_limit(missing)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
    linux.prctl(linux.PR_SET_DUMPABLE, 0)  # children may neither look into the zygote nor trace it
    if missing and not setup.is_unsafe:
        _send(control, REFUSED, "\n".join(f"{name}: {reason}" for name, reason in missing).encode())
        return
    scratch = setup.scratch if has_namespaces else setup.unisolated_scratch
    os.chdir(scratch)
    _warm_up(setup.preload)
    _send(control, READY, "\n".join(name for name, _ in missing).encode())
    _serve(control, Supervisor(scratch, has_namespaces=has_namespaces))


def _prefer_inner_paths(setup: wire.Setup, *, has_namespaces: bool) -> None:
    sys.path[:] = [path for path in sys.path if path != os.environ.get("FORKLOCK_SOURCE")]
    os.environ.pop("FORKLOCK_SOURCE", None)
    sys.path += [folder for folder in setup.python_folders if folder.endswith("-packages")]
    if has_namespaces:
        sys.path[:] = [isolation.inner_path(path) for path in sys.path]
        sys.executable = isolation.inner_path(sys.executable)
    sys.path_importer_cache.clear()


def _warm_up(preload: tuple[str, ...]) -> None:
    """Loads what programs often import, once, with a seed that is always the same, and takes the signals' defaults
    back."""
    child.fork_hooks += _load_without_fork_hooks(preload)
    if "random" in sys.modules:
        sys.modules["random"].seed(0)  # as the hash seed: a program's first run and its next draw the same
    site = importlib.import_module("site")  # exit(), quit(): skipped at the start, with everything else of site
    site.setquit()
    site.setcopyright()
    site.sethelper()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 is safe from signals that it has no handler for
    gc.disable()
    gc.collect()
    gc.freeze()


def _load_without_fork_hooks(names: Iterable[str]) -> list[dict[str, Any]]:
    """Loads modules; what they wanted to do in every forked child is not done but returned. A child of the zygote
    needs none of it, and it costs a quarter of a fork: the zygote has no threads, and its children may share a seed."""
    hooks: list[dict[str, Any]] = []
    register = os.register_at_fork
    os.register_at_fork = lambda **hook: hooks.append(hook)
    try:
        for name in names:
            importlib.import_module(name)
    finally:
        os.register_at_fork = register
    return hooks


def _serve(control: _socket.socket, supervisor: Supervisor) -> None:
    while True:
        try:
            body, descriptors = _receive(control)
        except EOFError:
            return
        if not body:
            supervisor.drop_kept()
            continue
        try:
            stdin = descriptors[0] if descriptors else child.NO_STDIN
            reports = supervisor.run(wire.unpack_job(body), stdin, control.fileno())
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        control.sendall(wire.pack_reports(reports))


def _receive(control: _socket.socket) -> tuple[bytes, list[int]]:
    head, ancillary, _, _ = control.recvmsg(wire.LENGTH_BYTES, 64)
    descriptors: list[int] = []
    for _, _, data in ancillary:
        descriptors += struct.unpack(f"{len(data) // 4}i", data)
    while len(head) < wire.LENGTH_BYTES:
        head += _some(control, wire.LENGTH_BYTES - len(head))
    length = wire.unpack_length(head)
    body = bytearray()
    while len(body) < length:
        body += _some(control, min(1 << 20, length - len(body)))
    return bytes(body), descriptors


def _some(control: _socket.socket, size: int) -> bytes:
    data = control.recv(size)
    if not data:
        raise EOFError
    return data


def _send(control: _socket.socket, tag: bytes, text: bytes) -> None:
    control.sendall(tag + len(text).to_bytes(4, "little") + text)
