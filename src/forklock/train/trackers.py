"""Experiment trackers: accelerate's, with what they write in the run folder and what they say on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from forklock.config import Recipe, TrainConfig
from forklock.packages import load_package
from forklock.train.errors import TrainingError

TRACKERS_FOLDER = "trackers"


def installed_trackers(settings: TrainConfig) -> list[str]:
    missing = set(settings.trackers) - {str(tracker.value) for tracker in get_available_trackers()}
    if missing:
        raise TrainingError(
            f"train.trackers: {', '.join(sorted(missing))} cannot be imported: pip install {' '.join(sorted(missing))}"
        )
    return list(settings.trackers)


@contextmanager
def tracking(recipe: Recipe, name: str, accelerator: Accelerator) -> Iterator[None]:
    """Around the steps that are logged, as the run `name` of the recipe's project. What was logged is written also
    where one of them fails."""
    if not recipe.train.trackers:
        yield
        return
    with redirect_stdout(sys.stderr):  # where one JSON object is all that may come
        _start(recipe, name, accelerator)
    try:
        yield
    finally:
        with redirect_stdout(sys.stderr):
            _finish(accelerator)


def _start(recipe: Recipe, name: str, accelerator: Accelerator) -> None:
    """Of the settings they are given what all of them can show. tensorboard knows no runs of a project but folders."""
    folder = accelerator.logging_dir
    assert folder is not None
    settings = recipe.train.model_dump(mode="json").items()
    plain = {name: value for name, value in settings if isinstance(value, bool | int | float | str)}
    if "trackio" in recipe.train.trackers:
        os.environ.setdefault("TRACKIO_DIR", folder)  # it takes it from there alone, once, at its import
    if accelerator.is_main_process:
        Path(folder).mkdir(exist_ok=True)  # wandb writes elsewhere rather than make it
    if name != recipe.name:
        accelerator.project_configuration.logging_dir = str(Path(folder) / name)
    named = {"wandb": {"dir": folder, "name": name}, "trackio": {"name": name}}
    try:
        accelerator.init_trackers(recipe.name, config=plain, init_kwargs=named)
    except _wandb_errors(recipe) as error:
        raise TrainingError(
            f"train.trackers: wandb does not start: {str(error).rstrip('.')}. Log in with `wandb login`, or set "
            "WANDB_MODE=offline"
        ) from error


def _wandb_errors(recipe: Recipe) -> tuple[type[Exception], ...]:
    return (load_package("wandb.errors").Error,) if "wandb" in recipe.train.trackers else ()


def _finish(accelerator: Accelerator) -> None:
    """Not `end_training`, which ends the process group as well."""
    for tracker in accelerator.trackers:
        if tracker.name == "trackio" and accelerator.is_main_process:
            load_package("trackio").finish()  # the tracker's own leaves it to be done again, aloud, at exit
        else:
            tracker.finish()
