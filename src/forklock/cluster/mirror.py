"""A copy of the run folder behind an fsspec URL, such as s3:// or gs://.

The run folder itself stays a folder of the machine that runs the command: stages rename and append, which object
stores can't. What is finished is copied as it comes, in an order that leaves the copy at every moment what a run
folder is after a kill: what makes it one first, journals before the outputs that they list, manifests last. Scratch is
not copied.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from forklock.cluster.errors import ClusterError
from forklock.errors import ForklockError
from forklock.run_dir.atomic import TEMPORARY_PREFIX, atomic_file
from forklock.run_dir.lock import LOCK_NAME
from forklock.run_dir.manifest import JOURNAL_NAME, MANIFEST_NAME
from forklock.run_dir.opening import RUN_NAME
from forklock.run_dir.stage import SCRATCH_NAME

PUSH_EVERY_S = 60.0


@contextmanager
def mirrored(url: str, run_dir: Path) -> Iterator[None]:
    """Fetch a run folder that is not here, and keep its copy up to date while the block runs, and after it."""
    mirror = Mirror(url, run_dir)
    mirror.fetch()
    stopped = threading.Event()

    def push_now_and_then() -> None:
        while not stopped.wait(PUSH_EVERY_S):
            mirror.try_to_push()

    pusher = threading.Thread(target=push_now_and_then, name="forklock-mirror", daemon=True)
    pusher.start()
    try:
        yield
    except BaseException:
        stopped.set()
        pusher.join()
        mirror.try_to_push()  # the error that is on its way matters more than one here
        raise
    stopped.set()
    pusher.join()
    mirror.push()


class Mirror:
    def __init__(self, url: str, run_dir: Path) -> None:
        self._url = url
        self._run_dir = run_dir
        try:
            self._store, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ClusterError(f"cluster.storage = {url!r}: {error}") from error
        self._pushed: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """Nothing happens where there is a run folder already, or no copy."""
        if (self._run_dir / RUN_NAME).exists():
            return
        try:
            self._fetch()
        except ForklockError:
            raise
        except Exception as error:  # stores raise errors of their own: boto's are no OSError
            raise ClusterError(f"cluster.storage = {self._url!r}: cannot be read: {_said(error)}") from error

    def _fetch(self) -> None:
        names = self._copied()
        for name in sorted(names, key=lambda name: name == RUN_NAME):  # what makes it a run folder comes last
            target = self._run_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as temporary:
                self._store.get_file(f"{self._root}/{name}", str(temporary))

    def push(self) -> None:
        """What is new or changed; what is no longer here goes there too."""
        try:
            self._push()
        except ForklockError:
            raise
        except Exception as error:  # as in fetch
            raise ClusterError(
                f"cluster.storage = {self._url!r}: cannot be written: {_said(error)}. The run folder {self._run_dir} "
                "is whole; run the same command again to copy it"
            ) from error

    def try_to_push(self) -> None:
        with suppress(ClusterError):  # the next call tries again
            self.push()

    def _push(self) -> None:
        copied = self._copied()
        found = sorted(self._found(), key=_turn)  # listed before a journal is read: it knows of all of these
        for name in found:
            path = self._run_dir / name
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # a stage that ended, or was set aside, meanwhile
            if self._pushed.get(name) != (stamp := (status.st_size, status.st_mtime_ns)):
                self._store.makedirs(str(PurePosixPath(self._root, name).parent), exist_ok=True)
                self._store.put_file(str(path), f"{self._root}/{name}")
                self._pushed[name] = stamp
        for name in copied - set(found):
            self._store.rm_file(f"{self._root}/{name}")
            self._pushed.pop(name, None)

    def _found(self) -> list[str]:
        paths = [path for path in self._run_dir.rglob("*") if path.is_file()]
        names = [path.relative_to(self._run_dir) for path in paths]
        return [
            name.as_posix()
            for name in names
            if SCRATCH_NAME not in name.parts
            and name.name != LOCK_NAME
            and not any(part.startswith(TEMPORARY_PREFIX) for part in name.parts)
        ]

    def _copied(self) -> set[str]:
        """Names there. Refused where they are no run folder's: whatever is not in the run folder would be removed."""
        names = self._stored()
        if names and RUN_NAME not in names:
            raise ClusterError(
                f"cluster.storage = {self._url!r}: holds other things than a copy of a run; name a folder of its own"
            )
        return names

    def _stored(self) -> set[str]:
        """From the root."""
        self._store.invalidate_cache()
        root: Any = PurePosixPath(self._root)
        if not self._store.exists(self._root):
            return set()
        return {PurePosixPath(path).relative_to(root).as_posix() for path in self._store.find(self._root)}


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _turn(name: str) -> tuple[int, str]:
    file = PurePosixPath(name).name
    return {RUN_NAME: 0, JOURNAL_NAME: 1, MANIFEST_NAME: 3}.get(file, 2), name
