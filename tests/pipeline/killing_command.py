"""The command line, as anyone calls it, with one thing added: a training process that has written its first state for
going on kills itself or the command that started it. Workers import this file too, and so have the fault."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from forklock.train import loop

_save_state = loop.save_state


def _save_and_kill(scratch: Path, *arguments: Any) -> None:
    _save_state(scratch, *arguments)
    match os.environ["VICTIM"], os.environ.get("RANK"):
        case "worker", "1":
            os.kill(os.getpid(), signal.SIGKILL)
        case "command", "0":
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()  # or, where the command is slow to end, one more step would be taken


if os.environ.get("VICTIM"):
    loop.save_state = _save_and_kill

if __name__ == "__main__":
    from forklock.cli import main

    main()
