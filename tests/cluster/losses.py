"""What workers on a cluster do in tests, besides their work. Workers import it by name."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

_held: list[IO[str]] = []


def lose_this_node(marker: Path) -> None:
    """The raylet, and this worker of it; once."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    for process in (os.getppid(), os.getpid()):
        os.kill(process, signal.SIGKILL)


def train_and_lose_a_node(settings: dict[str, Any]) -> None:
    """Rank 1 takes its node with it after the first checkpoint, once."""
    import ray.train

    def lose_one() -> None:
        if ray.train.get_context().get_world_rank() == 1:
            lose_this_node(Path(settings["plan"].scratch).parents[1] / "lost")

    _train(settings, lose_one)


def train_and_lose_the_head(settings: dict[str, Any]) -> None:
    """After the first checkpoint."""
    _train(settings, lambda: lose_the_head(Path(settings["plan"].scratch).parents[2]))


def _train(settings: dict[str, Any], after_checkpoint: Callable[[], None]) -> None:
    """As a worker does."""
    from forklock.cluster import training
    from forklock.train import loop

    save_state = loop.save_state

    def save_and_go_on(*arguments: Any) -> None:
        save_state(*arguments)
        after_checkpoint()

    loop.save_state = save_and_go_on
    training._work(settings)


def take_stage(order: Any, name: str) -> Any:
    return _take_stage(order, name, lambda: None)


def take_stage_and_lose_a_node(order: Any, name: str) -> Any:
    """The first training takes its node with it."""
    return _take_stage(order, name, lambda: lose_this_node(order.run_dir.parent / "lost"))


def take_stage_and_lose_the_head(order: Any, name: str) -> Any:
    """When a training begins."""
    _held.append((order.run_dir.parent / "workers").open("w"))
    fcntl.flock(_held[-1], fcntl.LOCK_SH)  # as long as this process is there
    return _take_stage(order, name, lambda: lose_the_head(order.run_dir.parent))


def _take_stage(order: Any, name: str, before_training: Callable[[], None]) -> Any:
    """As a task takes a sweep's stage, with the tests' training."""
    from sweep_cases import use_fake_training

    from forklock import stages as all_stages
    from forklock.cluster import stages

    use_fake_training()
    train = all_stages.train.run

    def train_then(recipe: Any, stage_dir: Any) -> None:
        before_training()
        train(recipe, stage_dir)

    all_stages.train.run = train_then
    return stages._take(order, name)


def wait_for_workers(folder: Path) -> None:
    """Those of a lost cluster that took stages: until none is left to write to the run folder."""
    with (folder / "workers").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def lose_the_head(folder: Path) -> None:
    """Whose processes a file there has; nothing comes from here any more."""
    end_the_head(folder)
    while True:
        time.sleep(0.1)  # a task that is told to end is not told in the middle of a wait


def end_the_head(folder: Path) -> None:
    for process in (folder / "head").read_text().split():
        os.kill(int(process), signal.SIGKILL)


def command_that_loses_the_head() -> None:
    """Sampling does with the first unit of samples, a training after its first checkpoint, a sweep with a training."""
    import losing_engines
    import losses  # what workers get is imported there by these names

    from forklock import cli
    from forklock.cluster import sampling, stages, training

    checked = sampling.ClusterEngine._checked

    def check_and_end(engine: sampling.ClusterEngine, result: Any) -> Any:
        end_the_head(Path(engine._model.path).parent)
        return checked(engine, result)

    if sys.argv[1] == "synthesize":
        sampling.EngineActor = losing_engines.WaitingEngine  # type: ignore[misc]
        sampling.ClusterEngine._checked = check_and_end  # type: ignore[method-assign]
    training._work = losses.train_and_lose_the_head
    stages._take = losses.take_stage_and_lose_the_head
    cli.main()


if __name__ == "__main__":
    command_that_loses_the_head()
