"""Under torchrun or accelerate launch: one process in charge of the run folder, the others told what to do.

A launcher starts the same command once a device. Rank 0 does what the command alone would do, run folder and all; the
others read no recipe and touch no run folder until it says what to do and where, and end with it. An error of any of
them is said once. Scratch has to be on a file system that all of them reach.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from forklock.config import Recipe
from forklock.errors import ForklockError
from forklock.train.errors import TrainingError

_SAID = "error-said"


class FollowerError(TrainingError):
    """An error that another process than rank 0 has to say, since it met it first."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained, on what, and where."""

    recipe: Recipe
    """As rank 0 has it: read once, hub names held to a commit."""
    stage: str
    """The name of the training's stage."""
    samples: Path
    scratch: Path
    done: frozenset[str]
    """Names of finished checkpoints."""
    passed: frozenset[tuple[str, int]] | None = None
    """Of a verified-only baseline: the samples that it may train on. Self-distillation knows none."""

    @property
    def run_dir(self) -> Path:
        return self.scratch.parents[1 + self.stage.count("/")]

    @property
    def tracked_as(self) -> str:
        """The name of the run in trackers, where a recipe's students and their rounds stand side by side."""
        return self.recipe.name + self.stage.rpartition("/")[2].removeprefix("train")

    def for_other_machines(self) -> Plan:
        """The same, for processes whose working folder is another."""
        return replace(self, samples=self.samples.absolute(), scratch=self.scratch.absolute())


def is_launched() -> bool:
    """Whether a launcher started several processes. (It sets these variables; so do we for our own workers.)"""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    return int(os.environ.get("RANK", "0")) if is_launched() else 0


def is_spokesman(error: ForklockError | None) -> bool:
    """Whether this process shows `error` (None: anything else) to people. Before the processes have met, an error (a
    package that is missing) is said by the first of each machine: it may be that machine's own."""
    if rank() == 0 or isinstance(error, FollowerError):
        return True
    return error is not None and os.environ.get("LOCAL_RANK") == "0" and not _have_met()


@contextmanager
def leading() -> Iterator[None]:
    """Around all that rank 0 does: where there is nothing to train, or it cannot begin, the others hear of it."""
    try:
        yield
    except ForklockError:
        if is_launched() and not _have_met():
            _meet_and_tell("failed")
        raise
    else:
        if is_launched() and not _have_met():
            _meet_and_tell("nothing to do")
    finally:
        _part()


def tell(plan: Plan) -> None:
    """Rank 0, at the start of its training."""
    (plan.scratch / _SAID).unlink(missing_ok=True)
    _meet_and_tell(plan)


@contextmanager
def following() -> Iterator[Plan | None]:
    """Around all that any other rank does: the plan, or None where there is nothing to do."""
    try:
        told = _meet_and_tell(None)
        if told == "failed":
            raise SystemExit(1)
        yield told if isinstance(told, Plan) else None
    finally:
        _part()


@contextmanager
def errors_said_once(scratch: Path) -> Iterator[None]:
    """The process that fails first says why; those that fail after it, or for want of it, end without a word."""
    try:
        yield
    except ForklockError as error:
        try:
            os.close(os.open(scratch / _SAID, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise SystemExit(1) from error
        raise FollowerError(str(error)) from error
    except RuntimeError as error:  # what torch raises where the other end of a connection is gone
        if (scratch / _SAID).exists():
            raise SystemExit(1) from error
        raise


def _meet_and_tell(message: object) -> object:
    import torch.distributed

    from forklock.train.devices import join_processes

    join_processes()
    messages = [message]
    torch.distributed.broadcast_object_list(messages, src=0)
    return messages[0]


def _have_met() -> bool:
    import torch.distributed

    return torch.distributed.is_initialized()


def _part() -> None:
    if is_launched() and _have_met():
        import torch.distributed

        torch.distributed.destroy_process_group()
