"""A sweep: what cells share, one that fails, kills in the middle, and several stages at a time."""

from __future__ import annotations

import csv
import fcntl
import json
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sweep_child
from evaluation_cases import ANSWERS
from sandbox_cases import open_sandbox
from sweep_cases import (
    FAILS,
    GRID,
    NUM_BASE_POINTS,
    NUM_CELLS,
    NUM_TRAININGS,
    contents,
    scripted,
    sweep_recipe,
    use_fake_training,
)
from typer.testing import CliRunner

from forklock import recipes, running, stages
from forklock.cli import app
from forklock.config import Recipe
from forklock.evaluate import verdicts_in
from forklock.parallel import workers
from forklock.parallel.schedule import is_consequence
from forklock.run_dir import read_events
from forklock.seeds import derive_seed
from forklock.sweep.cells import plan_sweep
from forklock.sweep.conclude import conclude
from forklock.sweep.taking import read_failures, run_sweep


@pytest.fixture(autouse=True)
def _needs_a_sandbox() -> None:
    with open_sandbox():
        pass


@pytest.fixture
def model(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    return scripted(tiny_model("qwen3"), tmp_path)


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Recipe:
    return sweep_recipe(tmp_path, model)


@pytest.fixture(autouse=True)
def _fake_training() -> Iterator[None]:
    replaced = use_fake_training()
    yield
    stages.train.run = replaced


def started(run_dir: Path, since: int = 0) -> list[str]:
    events = list(read_events(run_dir))[since:]
    return [event.stage for event in events if event.event == "stage_started" and event.stage is not None]


def kinds(names: list[str]) -> Counter[str]:
    def kind(name: str) -> str:
        if name.startswith("evaluate/"):
            return "base point" if name.startswith("evaluate/base-") else "cell"
        return name.removeprefix("students/").partition("-")[0]

    return Counter(map(kind, names))


def test_cells_share_what_they_have_in_common(recipe: Recipe, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert run_sweep(recipe, run_dir) == {}
    assert kinds(started(run_dir)) == {
        "prompts": 1,
        "synthesize": NUM_TRAININGS,
        "train": NUM_TRAININGS,
        "base point": NUM_BASE_POINTS,
        "cell": NUM_CELLS,
    }
    num_events = len(list(read_events(run_dir)))
    assert run_sweep(recipe, run_dir) == {}
    assert started(run_dir, since=num_events) == []
    states = Counter(stage.state for stage in running.read_status(run_dir).stages)
    # The recipe's own model is no cell of this grid.
    assert states == {"done": 1 + 2 * NUM_TRAININGS + NUM_BASE_POINTS + NUM_CELLS, "not started": 4}
    assert running.repair(run_dir) == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sweep": {**GRID, "eval_temperatures": [0.5, 1.0, 1.5, 2.0]}}, {"base point": 1, "cell": 4}),
        ({"sweep": {**GRID, "train_temperatures": [0.7, 1.3, 2.0]}}, {"synthesize": 2, "train": 2, "cell": 6}),
        ({"sweep": {**GRID, "train_truncations": [{}]}}, {}),
        ({"sweep": {**GRID, "seeds": [0, 1]}}, {"synthesize": 4, "train": 4, "cell": 12}),
        ({"train__learning_rate": 4e-6}, {"train": 4, "cell": 12}),
        ({"evaluate__base_temperatures": [0.9]}, {"base point": 1}),
        ({"evaluate__pass_k": [1, 2]}, {}),
    ],
)  # fmt: skip
def test_a_changed_setting_runs_the_stages_that_depend_on_it(
    change: dict[str, Any], expected: dict[str, int], recipe: Recipe, model: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run_sweep(recipe, run_dir)
    num_events = len(list(read_events(run_dir)))
    run_sweep(sweep_recipe(tmp_path, model, **change), run_dir)
    found = kinds(started(run_dir, since=num_events))
    assert found == expected


def test_rows_are_what_the_verdicts_say(recipe: Recipe, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_sweep(recipe, run_dir)
    report = conclude(recipe, run_dir)
    with (run_dir / "sweep" / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == NUM_CELLS
    for row in rows:
        found = list(verdicts_in(run_dir / row["stage"]))
        share = sum(verdict.passed for verdict in found) / len(found)
        assert float(row["all_pass@1_mean"]) == pytest.approx(share, abs=1e-12)
        product = float(row["train_temperature"]) * float(row["eval_temperature"])
        assert float(row["effective_temperature"]) == product
        assert row["state"] == "done"
        assert float(row["mean_code_blocks"]) == sum(verdict.num_code_blocks for verdict in found) / len(found)
    benchmark = report["benchmarks"]["livecodebench-v6"]
    (best,) = [found for found in benchmark["best"] if found["k"] == 1]
    highest = max(rows, key=lambda row: float(row["all_pass@1_mean"]))
    by_stage = {row["stage"]: float(row["all_pass@1_mean"]) for row in rows}
    assert by_stage[best["cell"]] == float(highest["all_pass@1_mean"])
    base = max(row["pass_at_k"]["all"]["pass@1"]["mean"] for row in benchmark["base"])
    assert best["to_best_base"]["all"]["mean"] == pytest.approx(by_stage[best["cell"]] - base)
    assert {(found["is_truncated"], found["num_points"]) for found in benchmark["fits"]} == {(True, 6), (False, 6)}
    paths = report.pop("figures")
    assert {Path(path).parent for path in paths} == {run_dir / "sweep" / "figures"}
    assert json.loads((run_dir / "sweep" / "summary.json").read_text()) == json.loads(json.dumps(report))


def test_one_that_fails_leaves_the_others_whole(recipe: Recipe, tmp_path: Path) -> None:
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    run_sweep(recipe, whole)
    conclude(recipe, whole)
    use_fake_training(fails_at=1.3)
    failures = run_sweep(recipe, hurt)
    report = conclude(recipe, hurt)
    trainings = {"students/train-t1.3-k20-p0.9", "students/train-t1.3-k0-p1"}
    assert {name for name, reason in failures.items() if reason == FAILS} == trainings
    assert {reason for name, reason in failures.items() if name not in trainings} == {
        f"needs {name}, which failed" for name in trainings
    }
    assert read_failures(hurt) == failures
    rows = report["benchmarks"]["livecodebench-v6"]["cells"]
    assert {(row["train"]["temperature"], row["state"]) for row in rows} == {(0.7, "done"), (1.3, "failed")}
    expected, found = contents(whole), contents(hurt)
    points = [name for name in expected if name.startswith(("base-", "t0.7-"))]
    assert len(points) == NUM_BASE_POINTS + NUM_CELLS // 2
    assert {name: found[name] for name in points} == {name: expected[name] for name in points}

    use_fake_training()
    num_events = len(list(read_events(hurt)))
    assert run_sweep(recipe, hurt) == read_failures(hurt) == {}
    assert kinds(started(hurt, since=num_events)) == {"train": 2, "cell": NUM_CELLS // 2}
    conclude(recipe, hurt)
    assert contents(hurt) == expected


def test_an_older_result_is_not_a_failed_cell_s(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    run_sweep(recipe, tmp_path / "run")
    use_fake_training(fails_at=1.3)
    changed = sweep_recipe(tmp_path, model, train__learning_rate=4e-6)
    run_sweep(changed, tmp_path / "run")
    rows = conclude(changed, tmp_path / "run")["benchmarks"]["livecodebench-v6"]["cells"]
    assert {(row["train"]["temperature"], row["state"]) for row in rows} == {(0.7, "done"), (1.3, "failed")}


@pytest.mark.slow
def test_killed_ten_times_it_equals_one_that_ran_through(recipe: Recipe, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_sweep(recipe, whole)
    conclude(recipe, whole)
    context = multiprocessing.get_context("forkserver")
    for number in range(10):
        # Each call writes one event for what is done already, and a few for what it does.
        at_event = len({event.stage for event in read_events(killed) if event.event == "stage_finished"}) + 3 + number
        child = context.Process(target=sweep_child.sweep, args=(recipe, killed, at_event))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"kill {number} did not come"
    assert run_sweep(recipe, killed) == {}
    conclude(recipe, killed)
    assert contents(killed) == contents(whole)
    # Nothing that was finished was done again.
    finished = Counter(event.stage for event in read_events(killed) if event.event == "stage_finished")
    assert set(finished.values()) == {1}


def test_checkpoints_are_cells(model: Path, tmp_path: Path) -> None:
    grid = {"eval_temperatures": [0.5, 1.0], "all_checkpoints": True}
    recipe = sweep_recipe(tmp_path, model, sweep=grid, train__steps=6, train__checkpoint_every_steps=2)
    assert run_sweep(recipe, tmp_path / "run") == {}
    assert kinds(started(tmp_path / "run"))["train"] == 1
    rows = conclude(recipe, tmp_path / "run")["benchmarks"]["livecodebench-v6"]["cells"]
    assert [row["checkpoint"] for row in rows] == [2, 2, 4, 4, None, None]
    for row in rows:
        num_right = 1 + round(2 * 1.3) + {2: 0, 4: 1, None: 2}[row["checkpoint"]]
        found = list(verdicts_in(tmp_path / "run" / row["stage"]))
        # The script of just this checkpoint answered: every verdict is of the share that it gives, seed by seed.
        size = len(ANSWERS) - 1 + num_right
        right = {0, *range(len(ANSWERS), size)}
        for verdict in found:
            seed = derive_seed(0, "evaluate", "livecodebench-v6", verdict.problem_id, verdict.sample_index)
            assert verdict.passed is (seed % size in right)


def test_the_command_says_what_failed_and_exits_with_1(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipes.to_toml(recipe))
    arguments = ["sweep", str(path), "--run-dir", str(tmp_path / "run")]
    use_fake_training(fails_at=0.7)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"}, catch_exceptions=False)
    assert result.exit_code == 1
    assert FAILS in " ".join(result.stdout.split())
    assert max(len(line) for line in result.stdout.splitlines() if "Rows, numbers" not in line) <= 80
    use_fake_training()
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stderr.count("warning students/train-t") == NUM_TRAININGS
    assert json.loads(result.stdout)["num_cells_by_state"] == {"done": NUM_CELLS}


def test_a_recipe_without_a_sweep_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipes.to_toml(recipe.model_copy(update={"sweep": None})))
    result = CliRunner().invoke(app, ["sweep", str(path), "--run-dir", str(tmp_path / "run")])
    assert "has no [sweep]" in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_at_a_time_equal_one_at_a_time(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", sweep_child.work)
    one, two = tmp_path / "one", tmp_path / "two"
    assert run_sweep(recipe, one) == {}
    assert run_sweep(recipe, two, num_parallel=2) == {}
    for run_dir in (one, two):
        conclude(recipe, run_dir)
    assert contents(two) == contents(one)
    assert sorted(started(two)) == sorted(started(one))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "said"), [(sweep_child.work_failing, FAILS), (sweep_child.work_dying, "its process ended by SIGKILL")]
)
def test_what_fails_or_dies_in_its_process_leaves_the_others(
    work: Any, said: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_work", work)
    failures = run_sweep(recipe, tmp_path / "run", num_parallel=2)
    causes = {name: reason for name, reason in failures.items() if not is_consequence(reason, failures)}
    assert set(causes) == {"students/train-t1.3-k20-p0.9", "students/train-t1.3-k0-p1"}
    assert all(said in reason for reason in causes.values())
    assert len(failures) == 2 + NUM_CELLS // 2
    rows = conclude(recipe, tmp_path / "run")["benchmarks"]["livecodebench-v6"]["cells"]
    assert {(row["train"]["temperature"], row["state"]) for row in rows} == {(0.7, "done"), (1.3, "failed")}
    assert run_sweep(recipe, tmp_path / "run") == {}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 1)])
def test_a_stopped_starter_takes_its_workers_along(number: int, code: int, recipe: Recipe, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = (recipe, run_dir, 20, 2, number)
    child = multiprocessing.get_context("spawn").Process(target=sweep_child.sweep, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == code
    with (run_dir / "run.lock").open() as lock:
        if number == signal.SIGKILL:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits until the last worker has ended: it was lent the lock
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert run_sweep(recipe, run_dir) == {}
    # By what is in the folder: a worker whose starter is killed may finish a stage with nobody to write the event down.
    states = {stage.stage: stage.state for stage in running.read_status(run_dir).stages}
    planned = plan_sweep(recipe)
    assert {states[stage.name] for stage in planned.plan.closure(planned.wanted)} == {"done"}


def test_each_process_has_its_share_of_the_devices(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    shares = workers._shares(workers.Job(recipe, allow_unsafe=False), 2)
    assert [job.devices for job in shares] == [("4", "5"), ("6", "7")]
    with pytest.raises(workers.ParallelError, match="4 can work at once"):
        workers._shares(workers.Job(recipe, allow_unsafe=False), 5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [job.devices for job in workers._shares(workers.Job(recipe, allow_unsafe=False), 3)] == [(), (), ()]
