"""Trackers without a network: every step stands in what they leave in the run folder, and in nothing else."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from train_cases import make_recipe, run_training
from training_child import SAMPLES

from forklock.train import TrainingError, trackers

TinyModel = Callable[[str], Path]
TESTS = Path(__file__).parents[1]
CHILD = "import sys; from training_child import train; train(*sys.argv[1:3], {'trackers': (sys.argv[3],)})"


def losses(folder: Path) -> dict[int, float]:
    with (folder / "train" / "curve.csv").open() as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}


def train_alone(model: Path, run_dir: Path, tracker: str, **variables: str) -> str:
    """In a process of its own, whose end is part of what is tested; gives its standard output."""
    paths = [str(TESTS.parent / "src"), str(TESTS), str(TESTS / "pipeline")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HOME": str(run_dir.parent), **variables}
    command = [sys.executable, "-c", CHILD, str(model), str(run_dir), tracker]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=run_dir.parent, env=environment, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wandb_without_a_login_says_what_to_do(tmp_path: Path) -> None:
    errors = pytest.importorskip("wandb.errors", reason="wandb is not installed")

    class Refusing:
        logging_dir = str(tmp_path / "trackers")
        is_main_process = True

        def init_trackers(self, *_: object, **__: object) -> None:
            raise errors.UsageError("no API key")

    with (
        pytest.raises(TrainingError, match=r"wandb does not start: no API key.*WANDB_MODE=offline"),
        trackers.tracking(make_recipe(trackers=("wandb",)), "test", Refusing()),  # type: ignore[arg-type]
    ):
        pass


def test_tensorboard_logs_every_step(tiny_model: TinyModel, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_training(make_recipe(tiny_model("qwen3"), trackers=("tensorboard",)), tmp_path, SAMPLES)
    events = EventAccumulator(str(tmp_path / "trackers" / "test"))
    events.Reload()
    logged = {event.step: event.value for event in events.Scalars("loss")}
    assert logged == pytest.approx(losses(tmp_path), rel=1e-6)


def test_students_stand_side_by_side(tiny_model: TinyModel, tmp_path: Path) -> None:
    """Each by its own name, all of them in one place."""
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    recipe = make_recipe(tiny_model("qwen3"), trackers=("tensorboard",), steps=1)
    for name, steps in (("train", 1), ("students/train-soft", 2)):
        longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps})})
        run_training(longer, tmp_path, SAMPLES, name)
    for place, num_steps in (("test", 1), ("test-soft/test", 2)):
        events = event_accumulator.EventAccumulator(str(tmp_path / "trackers" / place))
        events.Reload()
        assert len(events.Scalars("loss")) == num_steps


@pytest.mark.slow
def test_trackio_logs_every_step(tiny_model: TinyModel, tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed")
    run_dir = tmp_path / "run"
    assert train_alone(tiny_model("qwen3"), run_dir, "trackio") == ""
    with sqlite3.connect(run_dir / "trackers" / "test.db") as database:
        rows = database.execute("SELECT step, metrics FROM metrics").fetchall()
    logged = {step: json.loads(metrics)["loss"] for step, metrics in rows}
    assert logged == pytest.approx(losses(run_dir), rel=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_wandb_logs_every_step(tiny_model: TinyModel, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    run_dir = tmp_path / "run"
    assert train_alone(tiny_model("qwen3"), run_dir, "wandb", WANDB_MODE="offline") == ""
    (folder,) = (run_dir / "trackers" / "wandb").glob("offline-run-*")
    (record,) = folder.glob("run-*.wandb")
    content = record.read_bytes()
    for loss in losses(run_dir).values():
        assert json.dumps(loss).encode() in content
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["run"]


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    with pytest.raises(TrainingError, match=r"train\.trackers: trackio, wandb cannot be imported: pip install"):
        trackers.installed_trackers(make_recipe(trackers=("wandb", "trackio")).train)
