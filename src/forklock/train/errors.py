"""What stops a training, in words for the one who runs it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forklock.errors import ForklockError
from forklock.run_dir.atomic import storage_errors


class TrainingError(ForklockError):
    """Training cannot start, or must not go on."""


@contextmanager
def writing_checkpoint(partial: Path) -> Iterator[None]:
    """Around the making of a checkpoint's folder, which is removed again where the disk would not have all of it."""
    from safetensors import SafetensorError
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with storage_errors(partial):
            yield
    except (SafetensorError, CheckpointException) as error:
        failures = [failure for failure, _ in error.failures.values()] if isinstance(error, CheckpointException) else []
        reasons = [failure for failure in failures or [error] if isinstance(failure, Exception)]
        if not reasons:
            raise  # Ctrl-C, which torch wraps too
        free_bytes = shutil.disk_usage(partial.parent).free
        shutil.rmtree(partial, ignore_errors=True)  # several processes may
        raise TrainingError(
            f"{partial}: could not be written, with {free_bytes / 2**20:,.1f} MiB free there: "
            f"{str(reasons[0]).strip().splitlines()[0]}. Earlier checkpoints are safe; with room on a disk that works, "
            "run the same command again to go on"
        ) from error
    except ForklockError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
