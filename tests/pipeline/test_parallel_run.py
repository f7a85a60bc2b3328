"""A run whose stages are taken several at a time: the same verdicts, stopped or not; the first failure stops it."""

from __future__ import annotations

import fcntl
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import early_interrupt
import pytest
import sweep_child
from sandbox_cases import open_sandbox
from sweep_cases import FAILS, scripted, sweep_recipe, use_fake_training

from forklock import running, stages
from forklock.config import Recipe
from forklock.evaluate import verdicts_in
from forklock.parallel import workers
from forklock.parallel.schedule import StageFailedError
from forklock.run_dir import read_events
from forklock.run_dir.lock import RunLock
from forklock.sampling import samples_in

TEMPERATURES = [0.5, 0.9, 1.1]


@pytest.fixture(autouse=True)
def _needs_a_sandbox() -> None:
    with open_sandbox():
        pass


@pytest.fixture
def recipe(tiny_model: Callable[[str], Path], tmp_path: Path) -> Recipe:
    """One student of its own and another, the base and both at several temperatures."""
    return sweep_recipe(
        tmp_path,
        scripted(tiny_model("qwen3"), tmp_path),
        sweep=None,
        students={"hot": {"train_decoding": {"temperature": 1.6, "top_k": 20}}},
        evaluate__base_temperatures=TEMPERATURES,
        evaluate__student_temperatures=TEMPERATURES,
    )


@pytest.fixture(autouse=True)
def _fake_training() -> Iterator[None]:
    replaced = use_fake_training()
    yield
    stages.train.run = replaced


def contents(recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    """Every sample of every stage that draws, and every verdict."""
    found: dict[str, Any] = {}
    for name in running.plan_of(recipe).stages:
        samples = sorted(samples_in(run_dir / name), key=lambda sample: sample.key)
        verdicts = sorted(verdicts_in(run_dir / name), key=lambda verdict: verdict.key)
        found[name] = (
            [(sample.key, sample.seed, sample.token_ids) for sample in samples],
            [(row.key, row.verdict, row.code_hash) for row in verdicts],
        )
    return found


@pytest.mark.slow
def test_two_at_a_time_equal_one_at_a_time(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", sweep_child.work)
    one, two = tmp_path / "one", tmp_path / "two"
    running.run_evaluation(recipe, one)
    describe, at_work = RunLock.describe, []

    def describe_and_note(lock: RunLock, *stages: str) -> None:
        at_work.append(stages)
        describe(lock, *stages)

    monkeypatch.setattr(RunLock, "describe", describe_and_note)
    running.run_evaluation(recipe, two, num_parallel=2)
    assert contents(recipe, two) == contents(recipe, one)
    assert sum(len(verdicts) for _, verdicts in contents(recipe, two).values()) == (4 + 3 + 3) * 3 * 8
    assert max(map(len, at_work)) == 2
    # Nothing is left to do, so that no process is started.
    monkeypatch.setattr(workers, "_start", None)
    running.run_evaluation(recipe, two, num_parallel=2)


@pytest.mark.slow
def test_the_first_failure_stops_it_and_another_call_goes_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_work", sweep_child.work_failing)  # the student's own training
    with pytest.raises(StageFailedError, match=f"stage train: {FAILS}"):
        running.run_evaluation(recipe, tmp_path / "run", num_parallel=2)
    done = {event.stage for event in read_events(tmp_path / "run") if event.event == "stage_finished"}
    assert not any(name.startswith("evaluate/student") for name in done if name is not None)
    running.run_evaluation(recipe, tmp_path / "run")
    running.run_evaluation(recipe, tmp_path / "whole")
    assert contents(recipe, tmp_path / "run") == contents(recipe, tmp_path / "whole")


@pytest.mark.slow
def test_stopped_and_called_again_it_equals_one_that_ran_through(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "_work", sweep_child.work)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    running.run_evaluation(recipe, whole)
    context = multiprocessing.get_context("spawn")
    for at_event, number in [(2, signal.SIGKILL), (9, signal.SIGINT), (3, signal.SIGKILL)]:
        at_event += len({event.stage for event in read_events(stopped) if event.event == "stage_finished"})
        child = context.Process(target=sweep_child.evaluation, args=(recipe, stopped, at_event, number))
        child.start()
        child.join()
        assert child.exitcode == (-number if number == signal.SIGKILL else 1), f"{number} at {at_event} did not come"
        with (stopped / "run.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the last worker has ended: it was lent the lock
        said = capfd.readouterr().err
        assert ("stopping: " in said) == (number == signal.SIGINT)
    running.run_evaluation(recipe, stopped, num_parallel=2)
    assert contents(recipe, stopped) == contents(recipe, whole)
    assert running.repair(stopped) == ()


@pytest.mark.slow
def test_workers_that_are_interrupted_while_they_load_end_without_a_word(
    recipe: Recipe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=early_interrupt.evaluation, args=(recipe, tmp_path / "run")
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    said = capfd.readouterr().err
    assert "stopping: " in said
    assert "Traceback" not in said


def test_a_recipe_asks_for_no_more_than_there_is_room_for(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = recipe.model_copy(update={"num_parallel_stages": 4})
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: set(range(3)))

    def at_once(devices: str, of: Recipe = asking, asked: int | None = None) -> int:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        return workers.num_at_once(of, asked)

    assert at_once("") == 3  # a core each
    assert at_once("0") == 1
    assert at_once("0,1") == 2
    assert (
        at_once("0,1", asking.model_copy(update={"train": asking.train.model_copy(update={"num_processes": 2})})) == 1
    )
    assert at_once("0,1,2,3,4") == 3
    assert at_once("", recipe) == 1
    assert at_once("", asked=5) == 5
    on_cluster = asking.model_copy(update={"cluster": asking.cluster.model_copy(update={"address": "auto"})})
    assert at_once("", on_cluster) == 1
    assert at_once("", on_cluster, asked=2) == 2
