"""One training in a process of its own, or one of two as a launcher starts them; it may be made to die at a place."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from train_cases import STOP, make_recipe, make_sample, run_training

from forklock.sampling import Sample
from forklock.train import endings, follow, launch, loop, stop_health, worker

SAMPLES = [make_sample(number) for number in range(30)]
EVEN_POSITIONS = 30


def _even(number: int) -> Sample:
    """As long as all others of its kind, its prompt longer or shorter: forward passes are cut as one likes, and the
    completions of each still differ in number."""
    num_prompt = 2 + 3 * (number % 8)
    token_ids = (*(3 + (7 * number + 5 * place) % 290 for place in range(EVEN_POSITIONS)), STOP)
    changes = {"prompt_token_ids": token_ids[:num_prompt], "token_ids": token_ids[num_prompt:]}
    return replace(make_sample(number, with_target=False), finish_reason="stop", **changes)


EVEN_SAMPLES = [_even(number) for number in range(30)]


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_as_rank(rank: int, port: int, model: str, run_dir: str, settings: dict[str, Any], *fault: Any) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train(model, run_dir, settings, *fault)


def train(model: str, run_dir: str, settings: dict[str, Any], fault: str = "none", at: int = 0) -> None:
    """`before_step` and `after_step` count steps from 0; `card` and `state` count checkpoints from 0; `health` is
    measured on the base (0) and on the trained model (1)."""
    torch.set_num_threads(1)
    calls = 0

    def dying(original: Any, *, after: bool) -> Any:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            is_the_one, calls = calls == at, calls + 1
            if is_the_one and not after:
                die()
            result = original(*arguments, **named)
            if is_the_one:
                die()
            return result

        return wrapper

    when, _, what = fault.partition("_")
    if what == "step":
        loop._Stepper.take = dying(loop._Stepper.take, after=when == "after")  # type: ignore[method-assign]
    elif what == "state":
        loop.save_state = dying(loop.save_state, after=when == "after")
    elif what == "endings":
        endings.measure_endings = dying(endings.measure_endings, after=when == "after")
    elif what == "health":
        stop_health.stop_probability = dying(stop_health.stop_probability, after=when == "after")
    elif what == "card":  # weights are written, the folder is not finished
        worker.write_card = dying(worker.write_card, after=when == "after")
    samples = EVEN_SAMPLES if settings.pop("is_even", False) else SAMPLES
    recipe = make_recipe(model, record_target=settings.get("target") == "soft", **settings)
    if launch.rank() > 0:
        follow()
        return
    with launch.leading():
        run_training(recipe, Path(run_dir), samples)
