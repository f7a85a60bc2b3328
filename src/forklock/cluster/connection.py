"""The connection to a cluster, and the watch over its head.

Ray ends a process that has lost the head for a minute without a word to it. The watch notices first, and the command
ends as after Ctrl-C: what is finished is written, and the error says what happened.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from urllib.parse import urlsplit

import ray
import ray.data
import ray.exceptions
from ray._private import auto_init_hook
from ray.data._internal.block_batching.util import WaitBlockPrefetcher
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.data._internal.usage.poller import ClusterMetricsPoller

from forklock.cluster import CLIENT_SCHEME
from forklock.cluster.errors import ClusterError, ClusterLostError

LOCAL = "local"
PROBE_EVERY_S = 2.0
PROBE_TIMEOUT_S = 5.0
NUM_FAILED_PROBES = 3
"""So many in a row, and the head is gone: well within the minute after which Ray ends the process."""
ENDING_S = 10.0
"""For threads of Ray Data to end when their work was left."""
LOST = signal.SIGUSR2
BLOCK_BYTES = 1 << 20
"""What Ray Data expects of a unit's samples; by its own default it would hold back most of the work."""


@contextmanager
def connection(address: str) -> Iterator[None]:
    """Be a driver on the cluster; in the main thread. What Ray says meanwhile goes to standard error."""
    with redirect_stdout(sys.stderr):
        _connect(address)
        watch = _HeadWatch(_head())
        try:
            with watch.over_main_thread():
                yield
        except KeyboardInterrupt as error:
            if not watch.has_told:
                raise
            raise ClusterLostError(address) from error
        except ray.exceptions.RayTaskError:
            raise  # a fault of ours, with its traceback
        except (ray.exceptions.RayError, ConnectionError) as error:
            if watch.is_gone():
                raise ClusterLostError(address) from error
            raise ClusterError(
                f"cluster.address = {address!r}: {_first_line(error)} (the logs are in /tmp/ray on its nodes). What "
                "was finished is in the run folder; run the same command again to go on"
            ) from error
        finally:
            _end_data_threads(is_head_gone=watch.is_gone())
            ray.shutdown()


def _connect(address: str) -> None:
    if address.startswith(CLIENT_SCHEME):
        raise ClusterError(
            f"cluster.address = {address!r}: Ray Data does not work through Ray's client; the command line takes such "
            "an address, by running on a machine of the cluster. In Python be on one, and give `auto`"
        )
    reach(address)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    context.execution_no_progress_timeout_s = -1  # one long completion may take longer than its half hour
    auto_init_hook.enable_auto_connect = False  # a call from a thread that is late would start a cluster of its own


def reach(address: str) -> None:
    """Connect, in the main thread; Ray Data is not set up. SIGTERM, which Ray takes for itself, stays the caller's."""
    if address not in (LOCAL, "auto") and not _answers(_host_and_port(address.removeprefix(CLIENT_SCHEME))):
        raise ClusterError(
            f"cluster.address = {address!r}: nothing answers there; give the address of a running cluster's head "
            "(HEAD:6379, or ray://HEAD:10001 from outside), `auto` on one of its machines, or `local`"
        )
    options = {"include_dashboard": False} if address == LOCAL else {}
    at_termination = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **options)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"cluster.address = {address!r}: cannot connect: {_first_line(error)}. (A cluster with a token wants "
            "RAY_AUTH_MODE=token here, and the same in ~/.ray/auth_token or RAY_AUTH_TOKEN. Ray's own words are above)"
        ) from error
    finally:
        signal.signal(signal.SIGTERM, at_termination)


def _end_data_threads(*, is_head_gone: bool) -> None:
    """Of an iteration over Ray Data threads are left behind, for a moment or, parked, for good. One that asks something
    of Ray when that is shut down makes it end the whole process, without a word."""
    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor):
            if is_head_gone:
                thread._shutdown = True  # its loop ends; more would be to ask the head
            else:
                thread.shutdown(force=True)
            thread._metadata_fetcher.stop()
        elif isinstance(owner := _owner(thread), WaitBlockPrefetcher):
            owner.stop()
    deadline = time.monotonic() + ENDING_S
    for thread in threading.enumerate():
        if isinstance(thread, StreamingExecutor) or _is_of_data(thread):
            thread.join(max(0.0, deadline - time.monotonic()))


def _is_of_data(thread: threading.Thread) -> bool:
    """The one that polls for metrics never ends, and asks nothing of Ray."""
    module = getattr(getattr(thread, "_target", None), "__module__", None) or ""
    return module.startswith("ray.data.") and not isinstance(_owner(thread), ClusterMetricsPoller)


def _owner(thread: threading.Thread) -> object:
    return getattr(getattr(thread, "_target", None), "__self__", None)


class _HeadWatch(threading.Thread):
    def __init__(self, head: tuple[str, int]) -> None:
        super().__init__(name="forklock-head-watch", daemon=True)
        self.has_told = False
        self._head = head
        self._stopped = threading.Event()

    @contextmanager
    def over_main_thread(self) -> Iterator[None]:
        before = signal.signal(LOST, _raise_head_lost)
        self.start()
        try:
            yield
        finally:
            try:
                self._stopped.set()
                self.join()
            finally:  # it may have been lost just now
                signal.signal(LOST, before)

    def run(self) -> None:
        num_failed = 0
        while not self._stopped.wait(PROBE_EVERY_S):
            num_failed = 0 if _answers(self._head) else num_failed + 1
            if num_failed == NUM_FAILED_PROBES:
                main = threading.main_thread().ident
                assert main is not None
                self.has_told = True
                signal.pthread_kill(main, LOST)  # wakes it from whatever it waits for
                return

    def is_gone(self) -> bool:
        return not _answers(self._head)


def _raise_head_lost(number: int, frame: FrameType | None) -> None:
    """As by Ctrl-C: nobody on the way takes it for an error of theirs, and Ray's own waits end by nothing else."""
    raise KeyboardInterrupt


def _head() -> tuple[str, int]:
    """Where it answers, whatever it is called."""
    return _host_and_port(ray.get_runtime_context().gcs_address)


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise ClusterError(f"cluster.address = {address!r}: is neither `auto` nor `local` nor host:port")
    return host, port


def _answers(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
