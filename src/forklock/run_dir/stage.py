"""A stage's description, and the folder its body works in."""

import errno
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from forklock.run_dir.atomic import (
    TEMPORARY_PREFIX,
    publish,
    remove,
    storage_errors,
    sync_file,
    sync_tree,
    temporary_beside,
    write_new,
)
from forklock.run_dir.content import Output, measure
from forklock.run_dir.errors import StageError
from forklock.run_dir.events import Events
from forklock.run_dir.line_log import LineLog
from forklock.run_dir.manifest import JOURNAL_NAME, MANIFEST_NAME, JournalEntry
from forklock.run_dir.plan import checked_config
from forklock.run_dir.provenance import PROVENANCE_NAME

SCRATCH_NAME = "scratch"

_RESERVED = {MANIFEST_NAME, JOURNAL_NAME, PROVENANCE_NAME, SCRATCH_NAME}
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*(\.[0-9][a-z0-9_-]*)*)?")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a pipeline. Its name is that of its folder; stages of one family may stand in a folder together,
    under names such as `evaluate/base-t0.7`.

    `config` must hold everything that decides what the body makes, besides what it reads: a change to it makes
    the stage run again, and nothing else does. A body whose meaning changes gets a higher `version`.
    """

    name: str
    body: Callable[["StageDir"], None]
    config: Mapping[str, object] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    version: int = 1
    derived: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _STAGE_NAME.fullmatch(self.name):
            raise StageError(f"stage {self.name!r}: the name must match {_STAGE_NAME.pattern}")
        checked_config(self.name, self.config)


@dataclass(frozen=True)
class Sources:
    """Whose body it is, and where it finds what it reads: its inputs, and the folders of the stages before it."""

    stage: str
    """Its name."""
    inputs: Mapping[str, Path]
    upstream: Mapping[str, Path]


class StageDir:
    """What a body is given: where to read, where to write, and what an earlier, killed call finished.

    Outputs lie side by side in `path`, each a file or a whole folder, each there whole or not at all. Nothing
    is written to `path` but through here; what a library must write its own way goes to `scratch()`. Threads
    may write outputs at the same time. Other processes may write only to scratch, for `adopt`.
    """

    def __init__(self, path: Path, sources: Sources, journal: LineLog, events: Events, done: dict[str, Output]) -> None:
        self.path = path
        self._events = events
        self._sources = sources
        self._journal = journal
        self._done = done
        self._warnings: list[str] = []
        self._commit_lock = threading.Lock()

    @property
    def name(self) -> str:
        """The stage's."""
        return self._sources.stage

    def input(self, name: str) -> Path:
        """The file or folder that the stage's description calls `name`."""
        return self._sources.inputs[name]

    def upstream(self, name: str) -> Path:
        """The folder of the earlier, complete stage that the description reads under this name."""
        return self._sources.upstream[name]

    def note(self, event: str, **details: JsonValue) -> None:
        """Add a line to the run's events.jsonl."""
        self._events.add(event, self._sources.stage, **details)

    def warn(self, text: str) -> None:
        """Keep in the manifest, and in the run's events, what is amiss with what the stage makes."""
        self._warnings.append(text)
        self.note("warning", text=text)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    def reads(self, name: str) -> bool:
        """Whether the description reads a stage under this name."""
        return name in self._sources.upstream

    @property
    def done(self) -> Mapping[str, Output]:
        """The outputs finished so far, by this call or a killed one before it."""
        return dict(self._done)

    def is_done(self, name: str) -> bool:
        return name in self._done

    def write_bytes(self, name: str, data: bytes) -> None:
        with self.new_file(name) as temporary:
            write_new(temporary, data)

    def write_text(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    @contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        """A path to write one output to; it becomes the output when the block ends.

        Close the file before that. To make a finished output again is harmless when the same bytes come out;
        when others do, the finished one stays and StageError says so.
        """
        target = self._target(name)
        with temporary_beside(target) as temporary:
            yield temporary
            if not temporary.exists():
                raise StageError(f"{target}: nothing was written to the path that new_file gave")
            self._commit(temporary, name)

    @contextmanager
    def new_folder(self, name: str) -> Iterator[Path]:
        """An empty folder to fill; it becomes one output, every file hashed, when the block ends."""
        target = self._target(name)
        with temporary_beside(target) as temporary:
            temporary.mkdir()
            yield temporary
            self._commit(temporary, name)

    def adopt(self, source: Path, name: str) -> None:
        """Make a finished file or folder in scratch an output, by a rename: it is in one place or the other."""
        if not source.is_relative_to(self.path / SCRATCH_NAME):
            raise StageError(f"{source}: only what lies in {self.path / SCRATCH_NAME} can become an output")
        target = self._target(name)
        with storage_errors(target):
            self._commit(source, name)

    def scratch(self) -> Path:
        """A folder for work in progress, such as a trainer's own checkpoints.

        It survives a kill, is set aside with the stage, counts as no output and goes once the stage is complete.
        Nothing in it is flushed or hashed until it is adopted: after a power cut, look before you trust it.
        """
        folder = self.path / SCRATCH_NAME
        with storage_errors(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def _target(self, name: str) -> Path:
        if name in _RESERVED or name.startswith(".") or "/" in name or not name or not name.isprintable():
            raise StageError(
                f"{self.path}: {name!r} cannot name an output: a plain file name is needed, without '/', "
                f"not starting with '.', and none of {', '.join(sorted(_RESERVED))}"
            )
        return self.path / name

    def _commit(self, source: Path, name: str) -> None:
        """Flush, hash, record, rename: in this order, so that a named output is whole and accounted for."""
        target = self.path / name
        (sync_tree if source.is_dir() else sync_file)(source)
        output = measure(source)
        with self._commit_lock:
            if (finished := self._done.get(name)) is not None:
                if finished != output:
                    raise StageError(
                        f"{target}: is finished, and the body made it again with other content; "
                        "ask is_done() before making an output"
                    )
                if source.name.startswith(TEMPORARY_PREFIX):
                    remove(source)
                return
            if target.exists():
                raise StageError(f"{target}: was written past the StageDir; delete it and run again")
            self._journal.append(JournalEntry(output=name, content=output).model_dump())
            try:
                publish(source, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                raise StageError(f"{source}: lies on another file system than {target}") from error
            self._done[name] = output


def find_strangers(folder: Path, outputs: Mapping[str, Output]) -> list[str]:
    """Names in a stage's folder that are neither outputs nor our own. Hidden files may be anyone's."""
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in outputs and entry.name not in _RESERVED and not entry.name.startswith(".")
    )
