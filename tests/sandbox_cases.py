"""A sandbox for tests, or a word why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from forklock.sandbox.limits import MIB, Limits
from forklock.sandbox.pool import Sandbox
from forklock.sandbox.worker import SandboxUnavailableError

SHORT = Limits(cpu_s=1.0, memory_bytes=256 * MIB, output_bytes=1 * MIB, file_bytes=16 * MIB)


@contextmanager
def open_sandbox(limits: Limits = SHORT, num_workers: int = 1) -> Iterator[Sandbox]:
    """Skips the test where programs cannot be isolated."""
    with ExitStack() as stack:
        try:
            sandbox = stack.enter_context(Sandbox(limits, num_workers=num_workers))
        except SandboxUnavailableError as error:
            pytest.skip(str(error))
        yield sandbox
