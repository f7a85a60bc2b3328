"""events.jsonl: what happened in a run folder, one JSON object a line. For people; nothing is decided by it."""

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from forklock.run_dir.line_log import LineLog, read_lines
from forklock.run_dir.provenance import now

EVENTS_NAME = "events.jsonl"


class Event(BaseModel):
    """One line. `details` is whatever the event's reader wants to know."""

    model_config = ConfigDict(frozen=True)

    time: str
    event: str
    stage: str | None = None
    details: dict[str, JsonValue] = {}


class Events:
    """Takes what happens to where it is kept."""

    def __init__(self, write: Callable[[Event], None]) -> None:
        self._write = write

    def add(self, event: str, stage: str | None = None, **details: JsonValue) -> None:
        self._write(Event(time=now(), event=event, stage=stage, details=details))


class EventLog(Events):
    """Writes events, and tells a listener, who may print them, of each. One process writes."""

    def __init__(self, run_dir: Path, listener: Callable[[Event], None] | None) -> None:
        super().__init__(self.keep)
        self._log = LineLog(run_dir / EVENTS_NAME, durable=False)
        self._listener = listener

    def keep(self, record: Event) -> None:
        self._log.append(record.model_dump())
        if self._listener is not None:
            self._listener(record)

    def close(self) -> None:
        self._log.close()


def read_events(run_dir: Path) -> Iterator[Event]:
    """All events so far, oldest first; none where nothing ran."""
    try:
        for record in read_lines(run_dir / EVENTS_NAME):
            yield Event.model_validate(record)
    except (FileNotFoundError, NotADirectoryError):
        return
