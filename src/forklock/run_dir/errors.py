"""What can go wrong with a run folder. Every message names the file, what is wrong with it, and the mend."""

import errno
import os
from pathlib import Path

from forklock.errors import ForklockError


class RunDirError(ForklockError):
    """Base of the errors that a user of a run folder can do something about."""


class RunLockedError(RunDirError):
    """Another process works in the run folder."""


class NotARunFolderError(RunDirError):
    """The folder holds something else than a run."""


class NewerSchemaError(RunDirError):
    """The run folder was written by a newer version of forklock."""


class CorruptError(RunDirError):
    """A manifest, a journal or an output is not what was recorded. Nothing is made again over it."""


class SourceError(RunDirError):
    """Something that a stage reads (an input file, an earlier stage) is missing or changed under it."""


class StageError(RunDirError):
    """A stage is described wrongly, or its body broke a rule of its folder."""


_CAUSES = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
    errno.EIO: "the device reported an input/output error",
}
_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


class StorageError(RunDirError):
    """A write that the file system refused: full, over quota, read-only, forbidden, failing."""

    def __init__(self, path: Path, error: OSError) -> None:
        assert error.errno in _CAUSES
        free = _free_bytes(path)
        space = "" if free is None else f" ({free / 2**20:,.1f} MiB free on its file system)"
        if error.errno in _OUT_OF_SPACE:
            mend = "free space there"
        elif error.errno == errno.EIO:
            mend = "check the device (dmesg)"
        else:
            mend = "make the folder writable"
        super().__init__(
            f"{path}: cannot be written: {_CAUSES[error.errno]}{space}. "
            f"Finished work is safe; {mend} and run the same command again to go on."
        )
        self.path = path
        self.errno = error.errno
        self.free_bytes = free


def storage_error(path: Path, error: OSError) -> StorageError | None:
    """The StorageError for a failure while `path` was written; None when it is about something else.

    A body may fail to *read* a file while it writes an output: that is not an error of the output's.
    """
    if error.errno not in _CAUSES:
        return None
    if error.filename is None:
        return None if error.errno in (errno.EACCES, errno.EPERM) else StorageError(path, error)
    named = Path(os.fsdecode(error.filename2 or error.filename))  # of two, the second is written
    beside = [one for one in (named, *named.parents) if one.parent == path.parent]  # a temporary, or a file in it
    if (
        named in (path, path.parent)
        or path in named.parents
        or any(one.name.endswith(f"-{path.name}") for one in beside)
    ):
        return StorageError(path, error)
    return StorageError(named, error) if error.errno in _OUT_OF_SPACE else None


def _free_bytes(path: Path) -> int | None:
    for folder in (path, *path.absolute().parents):
        try:
            stats = os.statvfs(folder)
        except OSError:
            continue
        return stats.f_bavail * stats.f_frsize
    return None
