"""What workers on a cluster do in tests, besides their work. Workers import it by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any


def train_and_lose_a_node(settings: dict[str, Any]) -> None:
    """As a worker trains; rank 1 takes its node with it after the first checkpoint, once."""
    import ray.train

    from forklock.cluster import training
    from forklock.train import loop

    marker = Path(settings["plan"].scratch).parents[1] / "lost"
    save_state = loop.save_state

    def save_and_die(*arguments: Any) -> None:
        save_state(*arguments)
        if ray.train.get_context().get_world_rank() == 1 and not marker.exists():
            marker.touch()
            for process in (os.getppid(), os.getpid()):  # the raylet, and this worker of it
                os.kill(process, signal.SIGKILL)

    loop.save_state = save_and_die
    training._work(settings)


def take_stage_and_lose_a_node(order: Any, name: str) -> Any:
    """As a task takes a sweep's stage, with the tests' training; the first training takes its node with it."""
    from sweep_cases import use_fake_training

    from forklock import stages as all_stages
    from forklock.cluster import stages

    use_fake_training()
    train, marker = all_stages.train.run, order.run_dir.parent / "lost"

    def train_and_die(recipe: Any, stage_dir: Any) -> None:
        if not marker.exists():
            marker.write_text(name)
            for process in (os.getppid(), os.getpid()):  # the raylet, and this worker of it
                os.kill(process, signal.SIGKILL)
        train(recipe, stage_dir)

    all_stages.train.run = train_and_die
    return stages._take(order, name)


def synthesize_and_lose_the_head(recipe_file: str, run_dir: str, address: str, *head: str) -> None:
    """A command whose cluster loses its head with the second group of samples."""
    import sys

    from forklock import cli
    from forklock.cluster.sampling import ClusterEngine

    num_told = 0
    checked = ClusterEngine._checked

    def check_and_kill(engine: ClusterEngine, result: Any) -> Any:
        nonlocal num_told
        num_told += 1
        if num_told == 2:
            for process in map(int, head):
                os.kill(process, signal.SIGKILL)
        return checked(engine, result)

    ClusterEngine._checked = check_and_kill  # type: ignore[method-assign]
    sys.argv = ["forklock", "synthesize", recipe_file, "--run-dir", run_dir, "--cluster", address, "--json"]
    cli.main()


if __name__ == "__main__":
    import sys

    synthesize_and_lose_the_head(*sys.argv[1:])
