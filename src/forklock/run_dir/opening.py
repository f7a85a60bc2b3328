"""Opens a run folder.

<run>/run.json             the folder's schema version
<run>/run.lock             held while a process works here
<run>/events.jsonl         what happened
<run>/input_hashes.json    memory of large inputs' hashes
<run>/<stage>/             outputs, and manifest.json once complete, journal.jsonl until then
<run>/<stage>.stale-<8>/   set aside: work for another configuration or other inputs
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from forklock.run_dir.atomic import TEMPORARY_PREFIX, remove_temporaries, storage_errors, sync_file, write_text
from forklock.run_dir.errors import CorruptError, NotARunFolderError
from forklock.run_dir.events import Event, EventLog, Events
from forklock.run_dir.lock import LOCK_NAME, LentLock, LockElsewhere, RunLock, hold_lock
from forklock.run_dir.manifest import check_schema
from forklock.run_dir.plan import SCHEMA_VERSION

RUN_NAME = "run.json"

_NOT_OTHERS = {LOCK_NAME, "lost+found"}


@dataclass(frozen=True)
class Run:
    """An open run folder, locked for this process."""

    path: Path
    lock: RunLock | LentLock | LockElsewhere
    events: Events


@contextmanager
def open_run(path: Path, listener: Callable[[Event], None] | None = None) -> Iterator[Run]:
    """Make or open a run folder and hold its lock. Write files of your own into it (`write_text`) only inside."""
    check_run_folder(path)
    with storage_errors(path):
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            sync_file(path.parent)
    with hold_lock(path) as lock:
        check_run_folder(path)
        remove_temporaries(path)
        if not (path / RUN_NAME).exists():
            write_text(path / RUN_NAME, json.dumps({"schema_version": SCHEMA_VERSION}) + "\n")
        with closing(EventLog(path, listener)) as events:
            yield Run(path, lock, events)


def check_run_folder(path: Path) -> None:
    """Refuse what is not a run folder, or one from a newer forklock, before anything is written to it."""
    if path.exists() and not path.is_dir():
        raise NotARunFolderError(f"{path}: is a file; name a folder")
    marker = path / RUN_NAME
    try:
        record = json.loads(marker.read_bytes())
    except FileNotFoundError:
        if others := _others(path):
            raise NotARunFolderError(
                f"{path}: holds {others[0]!r} but no {RUN_NAME}, so it is no run folder; name a new or empty one"
            ) from None
        return
    except ValueError as error:
        raise CorruptError(f"{marker}: not JSON ({error}); restore it from a copy") from error
    version = record.get("schema_version") if isinstance(record, dict) else None
    if not isinstance(version, int):
        raise CorruptError(f"{marker}: schema_version: is not a whole number; restore it from a copy")
    check_schema(marker, version)


def _others(path: Path) -> list[str]:
    """What a folder holds that a run killed at its very start did not leave."""
    if not path.is_dir():
        return []
    names = (entry.name for entry in path.iterdir())
    return sorted(name for name in names if name not in _NOT_OTHERS and not name.startswith(TEMPORARY_PREFIX))
