"""What workers on a cluster do in tests, besides their work. Workers import it by name."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any


def lose_this_node(marker: Path) -> None:
    """The raylet, and this worker of it; once."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    for process in (os.getppid(), os.getpid()):
        os.kill(process, signal.SIGKILL)


def train_and_lose_a_node(settings: dict[str, Any]) -> None:
    """As a worker trains; rank 1 takes its node with it after the first checkpoint, once."""
    import ray.train

    from forklock.cluster import training
    from forklock.train import loop

    save_state = loop.save_state

    def save_and_die(*arguments: Any) -> None:
        save_state(*arguments)
        if ray.train.get_context().get_world_rank() == 1:
            lose_this_node(Path(settings["plan"].scratch).parents[1] / "lost")

    loop.save_state = save_and_die
    training._work(settings)


def take_stage_and_lose_a_node(order: Any, name: str) -> Any:
    """As a task takes a sweep's stage, with the tests' training; the first training takes its node with it."""
    from sweep_cases import use_fake_training

    from forklock import stages as all_stages
    from forklock.cluster import stages

    use_fake_training()
    train = all_stages.train.run

    def train_and_die(recipe: Any, stage_dir: Any) -> None:
        lose_this_node(order.run_dir.parent / "lost")
        train(recipe, stage_dir)

    all_stages.train.run = train_and_die
    return stages._take(order, name)


def train_and_lose_the_head(settings: dict[str, Any]) -> None:
    lose_the_head(Path(settings["plan"].scratch).parents[2])


def take_stage_and_lose_the_head(order: Any, name: str) -> None:
    lose_the_head(order.run_dir.parent)


def lose_the_head(folder: Path) -> None:
    """Whose processes a file there has; nothing comes from here any more."""
    end_the_head(folder)
    threading.Event().wait()


def end_the_head(folder: Path) -> None:
    for process in (folder / "head").read_text().split():
        os.kill(int(process), signal.SIGKILL)


def command_that_loses_the_head() -> None:
    """Sampling does with the first unit of samples; a training and a sweep's stage when a worker has begun on it."""
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
