"""One synthesis in a process of its own, which may be made to die or to meet a full disk at a chosen shard."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from forklock import recipes, running
from forklock.run_dir import StorageError
from forklock.sampling import Sample, shards

FULL_DISK_EXIT = 28


def synthesize(recipe_file: str, run_dir: str, fault: str = "none", at_shard: int = 0) -> None:
    """`kill_before` and `kill_after` die around the writing of a shard; `full` finds no space for it."""
    write_shard, num_written = shards.write_shard, 0

    def write_or_fail(path: Path, samples: Sequence[Sample]) -> None:
        nonlocal num_written
        is_the_one, num_written = num_written == at_shard, num_written + 1
        if is_the_one and fault == "kill_before":
            os.kill(os.getpid(), signal.SIGKILL)
        if is_the_one and fault == "full":
            path.write_bytes(b"PAR1 half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_shard(path, samples)
        if is_the_one and fault == "kill_after":
            os.kill(os.getpid(), signal.SIGKILL)

    shards.write_shard = write_or_fail
    try:
        running.run_until(recipes.load([recipe_file]), Path(run_dir), "synthesize")
    except StorageError:
        os._exit(FULL_DISK_EXIT)
