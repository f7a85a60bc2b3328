"""Progress off a terminal, and of processes that show nothing themselves."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from forklock import progress
from forklock.progress import Progress


def test_a_log_gets_a_line_a_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, *range(30, 601, 30)])
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with progress.progress_bar("sample", total=1_020, done=1_000) as advance:
        for _ in range(4):
            advance(1, "7 tokens/s")
    assert capsys.readouterr().err.splitlines() == [
        "sample 1,002/1,020  7 tokens/s  9 min left",
        "sample 1,004/1,020  7 tokens/s  8 min left",
    ]


def test_a_process_that_works_for_another_tells_it_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Progress] = []
    monkeypatch.setattr(progress, "_forward", told.append)
    clock = iter([0.0, 0.1, 0.3, 0.4])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.progress_bar("sample", total=5, done=1) as advance:
        for number in range(3):
            advance(1, f"note {number}")
    assert told == [
        Progress("sample", 5, 1),
        Progress("sample", 5, 3, "note 1"),  # the first came too soon after the start, the last too soon after this
        Progress("sample", 5, 4, is_over=True),
    ]
    assert capsys.readouterr().err == ""


def test_a_board_has_a_line_for_each_part_at_work() -> None:
    console = Console(force_terminal=True, width=100, file=StringIO())
    with progress._bars(console) as bars:
        board = progress._BarBoard(bars, "stages", 3)

        def shown() -> list[tuple[str, float, float | None]]:
            return [(task.description, task.completed, task.total) for task in bars.tasks]

        board.show("one", Progress("sample", 10, 0))
        board.show("two", Progress("train", 7, 2))
        board.show("one", Progress("sample", 10, 4, "fast"))
        assert shown() == [("stages", 0, 3), ("sample", 4, 10), ("train", 2, 7)]
        board.show("one", Progress("grade", 10, 1))  # the same stage goes on with something else
        board.show("two", None)
        board.set_done(1)
        assert shown() == [("stages", 1, 3), ("grade", 1, 10)]
        long = f"stopping [now]; {'word ' * 30}end"
        board.say(long)
        assert f"{long}\n" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_log_gets_the_lines_of_every_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds)
    with progress.board("stages", 3) as board:
        board.show("one", Progress("sample", 10, 0))
        board.show("two", Progress("train", 7, 2))
        seconds = 90.0
        board.show("one", Progress("sample", 10, 4, "fast"))
        board.show("two", Progress("train", 7, 5, "loss 1"))
        board.show("two", None)
    assert capsys.readouterr().err.splitlines() == [
        "sample 4/10  fast  2 min left",
        "train 5/7  loss 1  1 min left",
    ]
