"""HTTP POST that outlasts a server's restarts: it tries again until there is an answer, or no hope.

The standard library's client, in the caller's thread: a request is one small JSON out and one back after minutes
or hours, so a connection each costs nothing, and none is ever stale.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import math
import random
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from forklock.engines import EngineError

READ_TIMEOUT_S = 24 * 3600.0
"""An answer of 128k tokens may take hours; a peer that is gone is noticed by TCP keep-alive, within minutes."""
CONNECT_TIMEOUT_S = 30.0
KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 6))
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 30.0
GIVE_UP_AFTER_S = 600.0
"""Time a request may have waited between tries while no request at all was answered."""
PASSING_STATUS = {408, 429}
"""Errors that may pass, besides 5xx."""


class _PassingError(Exception):
    """Worth another try; says how long the server asked to be left alone."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class PatientClient:
    """JSON to and from one server, by any number of threads."""

    def __init__(self, base_url: str) -> None:
        self._parts = urlsplit(base_url)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise EngineError(f"engine.server_url = {base_url!r}: give http://host:port/v1")
        self._base_url = base_url
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._closing = threading.Event()
        self._num_answers = 0

    def get(self, path: str) -> Any:
        """One try."""
        try:
            return self._exchange("GET", path, None)
        except _PassingError as error:
            raise EngineError(
                f"engine.server_url = {self._base_url!r}: {error}; start the server, or mend the address"
            ) from error

    def post(self, path: str, content: dict[str, Any]) -> Any:
        """Tries until the server answers, refuses, or has answered nobody for GIVE_UP_AFTER_S."""
        body = json.dumps(content).encode()
        since, num_failures, num_answers = math.inf, 0, self._num_answers
        while True:
            try:
                answer = self._exchange("POST", path, body)
            except _PassingError as error:
                if num_answers != self._num_answers:
                    since, num_answers = math.inf, self._num_answers
                since = min(since, time.monotonic())
                waited_s = time.monotonic() - since
                if waited_s >= GIVE_UP_AFTER_S:
                    raise EngineError(
                        f"engine.server_url = {self._base_url!r}: no answer in {waited_s:.0f} s of trying "
                        f"({error}); see to the server and run again: what is finished is kept"
                    ) from error
                delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**num_failures) * random.uniform(0.5, 1.0)
                delay_s = max(delay_s, min(error.retry_after_s, GIVE_UP_AFTER_S))
                num_failures = min(num_failures + 1, 16)
                if self._closing.wait(delay_s):
                    raise EngineError("closed before the server answered") from error
            else:
                self._num_answers += 1
                return answer

    def close(self) -> None:
        """Ends every exchange under way; the server sees its client gone and drops the work."""
        self._closing.set()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):  # it may have ended by itself
                    if connection.sock is not None:
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def _exchange(self, method: str, path: str, body: bytes | None) -> Any:
        connection = self._connection()
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
            if response.status in PASSING_STATUS or response.status >= 500:
                retry_after_s = _retry_after_s(response.getheader("Retry-After"))
                raise _PassingError(f"{response.status} {response.reason}", retry_after_s)
            if response.status == 200:
                return json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
        raise EngineError(
            f"engine.server_url = {self._base_url!r}: {method} {path} was refused with {response.status}: {text[:500]}"
        )

    def _connection(self) -> http.client.HTTPConnection:
        of_scheme: dict[str, type[http.client.HTTPConnection]] = {
            "http": http.client.HTTPConnection,
            "https": http.client.HTTPSConnection,
        }
        assert self._parts.hostname is not None
        connection = of_scheme[self._parts.scheme](self._parts.hostname, self._parts.port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            raise _PassingError(f"{type(error).__name__}: {error}") from error
        connection.sock.settimeout(READ_TIMEOUT_S)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            connection.sock.setsockopt(socket.IPPROTO_TCP, option, value)
        with self._lock:
            self._open.add(connection)
            if self._closing.is_set():
                connection.close()
        return connection


def _retry_after_s(header: str | None) -> float:
    """Seconds, or a date."""
    if header is None:
        return 0.0
    if header.strip().isdigit():
        return float(header)
    try:
        return email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    except ValueError:
        return 0.0
