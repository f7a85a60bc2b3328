"""Progress off a terminal."""

from __future__ import annotations

import pytest

from forklock import progress


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
