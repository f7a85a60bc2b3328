"""Progress for people, on standard error: a bar on a terminal, a line a minute in a log.

Processes that work for another send theirs to it (`forward_to`), which shows all of them on a `board`: bars of several
processes would write over each other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_EVERY_S = 60.0
SEND_EVERY_S = 0.25


@dataclass(frozen=True)
class Progress:
    """How far some work is, as one process tells another."""

    what: str
    total: int
    done: int
    note: str = ""
    is_over: bool = False


def say(line: str) -> None:
    """Words that stand by themselves, on a line of their own, however long."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


_forward: Callable[[Progress], None] | None = None


def forward_to(send: Callable[[Progress], None]) -> None:
    """From here on this process shows nothing itself."""
    global _forward
    _forward = send


@contextmanager
def progress_bar(what: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Gives a function `advance(steps, note)`; `done` of `total` were finished before."""
    from rich.console import Console

    if _forward is not None:
        sender = _Sender(_forward, what, total, done)
        try:
            yield sender.advance
        finally:
            sender.end()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, total, done).advance
        return
    with _bars(console) as bars:
        task = bars.add_task(what, total=total, completed=done, note="")

        def advance(steps: int, note: str) -> None:
            bars.update(task, advance=steps, note=note)

        yield advance


class Board(Protocol):
    """The progress of several processes."""

    def set_done(self, done: int) -> None:
        """Of the whole."""
        ...

    def show(self, name: str, progress: Progress | None) -> None:
        """One of its parts; None: it shows nothing any more."""
        ...

    def say(self, line: str) -> None:
        """Above the bars, which stay."""
        ...


@contextmanager
def board(what: str, total: int) -> Iterator[Board]:
    """`total` are the parts of the whole."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LineBoard()
        return
    with _bars(console) as bars:
        yield _BarBoard(bars, what, total)


def _bars(console: Console) -> Bars:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(compact=True),
    )
    return Bars(*columns, console=console)


class _BarBoard:
    """The whole on top, a line for each part at work."""

    def __init__(self, bars: Bars, what: str, total: int) -> None:
        self._bars = bars
        self._whole = bars.add_task(what, total=total, note="")
        self._parts: dict[str, tuple[str, TaskID]] = {}

    def set_done(self, done: int) -> None:
        self._bars.update(self._whole, completed=done)

    def show(self, name: str, progress: Progress | None) -> None:
        shown = self._parts.get(name)
        if shown is not None and (progress is None or progress.what != shown[0]):
            self._bars.remove_task(self._parts.pop(name)[1])
        if progress is None:
            return
        if name not in self._parts:
            task = self._bars.add_task(progress.what, total=progress.total, completed=progress.done, note=progress.note)
            self._parts[name] = progress.what, task
        self._bars.update(self._parts[name][1], completed=progress.done, note=progress.note)

    def say(self, line: str) -> None:
        self._bars.console.print(line, soft_wrap=True, markup=False, highlight=False)


class _LineBoard:
    """For logs: the lines of its parts."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], _Lines] = {}

    def set_done(self, done: int) -> None:
        pass

    def show(self, name: str, progress: Progress | None) -> None:
        if progress is not None:
            lines = self._lines.setdefault((name, progress.what), _Lines(progress.what, progress.total, progress.done))
            lines.set_done(progress.done, progress.note)

    def say(self, line: str) -> None:
        say(line)


class _Sender:
    """At most a few messages a second, the first and the last among them."""

    def __init__(self, send: Callable[[Progress], None], what: str, total: int, done: int) -> None:
        self._send = send
        self._what, self._total, self._done = what, total, done
        self._last_sent = time.monotonic()
        send(Progress(what, total, done))

    def advance(self, steps: int, note: str) -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last_sent >= SEND_EVERY_S:
            self._last_sent = now
            self._send(Progress(self._what, self._total, self._done, note))

    def end(self) -> None:
        self._send(Progress(self._what, self._total, self._done, is_over=True))


class _Lines:
    """For logs. Work that ends within the first minute leaves no line."""

    def __init__(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._done = what, total, done
        self._num_before = done
        self._start = self._last_line = time.monotonic()

    def advance(self, steps: int, note: str) -> None:
        self.set_done(self._done + steps, note)

    def set_done(self, done: int, note: str) -> None:
        self._done = done
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        each_s = (now - self._start) / max(1, self._done - self._num_before)
        minutes_left = each_s * (self._total - self._done) / 60
        say(f"{self._what} {self._done:,}/{self._total:,}  {note}  {minutes_left:,.0f} min left")
