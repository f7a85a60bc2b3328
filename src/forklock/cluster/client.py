"""A command given through Ray's client (`ray://`): a machine of the cluster takes it through, in the same folder.

Ray Data and Ray Train want a process of the cluster itself. So the whole command runs there, held by an actor. What it
says comes back, Ctrl-C goes there; when either end of the connection is lost, it stops as after Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import ray
import ray.exceptions

from forklock.cluster.connection import reach
from forklock.cluster.errors import ClusterError

WAIT_S = 1.0
"""For something that the command says; then the client hears that there is nothing new."""
NUM_TRIES = 5
_CHUNK_BYTES = 1 << 16

Said = tuple[int, bytes]
"""On standard output (1) or error (2)."""


class Errand:
    """On a machine of the cluster; an actor, two of whose calls may run at once."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said: list[Said] = []
        self._num_heard = 0
        self._exit_code: int | None = None
        self._changed = threading.Condition()

    def begin(self, arguments: list[str], folder: str, num_columns: int) -> str | None:
        """Why it can't, if it can't."""
        if not Path(folder).is_dir():
            return f"there is no {folder} on the machine that was to take it through ({ray.util.get_node_ip_address()})"
        head = ray.get_runtime_context().gcs_address
        # The kernel tells of a parent's death by the thread that started the child; an actor's stay as long as it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "forklock.cluster.errand", str(os.getpid()), head, *arguments],
            cwd=folder,
            env={**_settings_of_node(), "COLUMNS": str(num_columns)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        threading.Thread(target=self._attend, args=(self._process,), daemon=True).start()
        return None

    def hear(self, num_heard: int) -> tuple[list[Said], int | None]:
        """What was said since, and the exit code when that is all there will be. Asked again, it says it again."""
        with self._changed:
            del self._said[: num_heard - self._num_heard]
            self._num_heard = num_heard
            self._changed.wait_for(lambda: self._said or self._exit_code is not None, WAIT_S)
            return list(self._said), self._exit_code

    def interrupt(self) -> None:
        assert self._process is not None
        self._process.terminate()

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        pipes = {1: process.stdout, 2: process.stderr}
        listeners = [threading.Thread(target=self._listen, args=pipe) for pipe in pipes.items()]
        for listener in listeners:
            listener.start()
        for listener in listeners:
            listener.join()
        exit_code = process.wait()
        with self._changed:
            self._exit_code = exit_code
            self._changed.notify_all()

    def _listen(self, number: int, pipe: IO[bytes]) -> None:
        while said := os.read(pipe.fileno(), _CHUNK_BYTES):
            with self._changed:
                self._said.append((number, said))
                self._changed.notify_all()


def _settings_of_node() -> dict[str, str]:
    """The environment that `ray start` had: a worker's own has what Ray set for a worker without CPUs or GPUs."""
    lines = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    pairs = [os.fsdecode(line).partition("=") for line in lines if line]
    return {name: value for name, _, value in pairs}


def take_there(address: str, arguments: list[str]) -> int:
    """Have the command taken through on the cluster, and pass on what it says. Gives its exit code."""
    try:
        _reach(address)
        errand = ray.remote(num_cpus=0, max_concurrency=2)(Errand).remote()
        num_columns = shutil.get_terminal_size().columns
        obstacle = ray.get(errand.begin.remote(arguments, str(Path.cwd()), num_columns))
        if obstacle is not None:
            raise ClusterError(
                f"cluster.address = {address!r}: {obstacle}; through Ray's client a command runs in the same folder "
                "on a machine of the cluster, so that the folder has to be on storage that they share"
            )
        return _follow(errand)
    except (ray.exceptions.RayError, ConnectionError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClusterError(
            f"cluster.address = {address!r}: the command's machine there cannot be reached any more: {reason}. What "
            "was finished is in the run folder; run the same command again to go on"
        ) from error
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Now and then the process that Ray starts for a client dies at its start (github.com/ray-project/ray/issues/63202,
    open as of Ray 2.60)."""
    for num_left in reversed(range(NUM_TRIES)):
        try:
            reach(address)
        except ClusterError as error:
            if num_left == 0 or not isinstance(error.__cause__, ConnectionAbortedError):
                raise
        else:
            return


def _follow(errand: Any) -> int:
    num_heard = 0
    exit_code: int | None
    while True:
        try:
            said, exit_code = ray.get(errand.hear.remote(num_heard))
            for number, text in said:
                stream = sys.stdout if number == 1 else sys.stderr
                num_heard += 1
                with suppress(BrokenPipeError):
                    stream.buffer.write(text)
                    stream.flush()
        except KeyboardInterrupt:
            ray.get(errand.interrupt.remote())
            continue
        if exit_code is not None:
            # As a shell has it, of a command that a signal ended.
            return exit_code if exit_code >= 0 else 128 - exit_code
