"""Progress for people, on standard error: a bar on a terminal, a line a minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_EVERY_S = 60.0


@contextmanager
def progress_bar(what: str, total: int, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Gives a function `advance(steps, note)`; `done` of `total` were finished before."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, total, done).advance
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(what, total=total, completed=done, note="")

        def advance(steps: int, note: str) -> None:
            bars.update(task, advance=steps, note=note)

        yield advance


class _Lines:
    """For logs. Work that ends within the first minute leaves no line."""

    def __init__(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._done = what, total, done
        self._num_before = done
        self._start = self._last_line = time.monotonic()

    def advance(self, steps: int, note: str) -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_S:
            return
        self._last_line = now
        each_s = (now - self._start) / max(1, self._done - self._num_before)
        minutes_left = each_s * (self._total - self._done) / 60
        line = f"{self._what} {self._done:,}/{self._total:,}  {note}  {minutes_left:,.0f} min left"
        print(line, file=sys.stderr, flush=True)  # noqa: T201
