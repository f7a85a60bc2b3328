"""Evaluation from a recipe to a table: points that are stages, shared engines, kills, and what is asked for again."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluation_cases import ANSWERS, PROBLEMS, recipe_for, write_files, write_script
from evaluation_child import evaluate
from sandbox_cases import open_sandbox
from typer.testing import CliRunner

from forklock import recipes, running, stages
from forklock.benchmarks import Score
from forklock.benchmarks.livecodebench import ProgramProblem
from forklock.cli import app
from forklock.config import Recipe
from forklock.engines import EngineError
from forklock.evaluate import session, verdicts_in
from forklock.evaluate.report import gather
from forklock.run_dir import StageDir, read_events
from forklock.sampling import samples_in
from forklock.sandbox.pool import Sandbox
from forklock.seeds import derive_seed

BASE = "evaluate/base-livecodebench-v6-t0.7-k20-p0.8"
STUDENT = "evaluate/student-livecodebench-v6-t1.1-k20-p0.8"
FORGETS = "the model is losing its [stop] token"
WANTED = ["passed", "wrong_answer", "compile_error", "no_code"]
"""Of each of ANSWERS."""


@pytest.fixture(autouse=True)
def _needs_a_sandbox() -> None:
    with open_sandbox():
        pass


@pytest.fixture
def model(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    return write_script(Path(shutil.copytree(tiny_model("qwen3"), tmp_path / "model")))


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Recipe:
    write_files(tmp_path)
    return recipe_for(tmp_path, model)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that engines were opened for."""
    models: list[str] = []
    open_engine = session.open_engine

    def counted(config: Any, model: Any, **limits: Any) -> Any:
        models.append(Path(model.path).name if "train" not in model.path else "student")
        return open_engine(config, model, **limits)

    monkeypatch.setattr(session, "open_engine", counted)
    return models


@pytest.fixture
def fake_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trained model is the frozen one's folder, but knows one answer more often."""

    def train(recipe: Recipe, stage_dir: StageDir) -> None:
        with stage_dir.new_folder("model") as folder:
            shutil.copytree(recipe.model.path, folder, dirs_exist_ok=True)
            write_script(folder, [*ANSWERS, ANSWERS[0], ANSWERS[0]])
        stage_dir.write_text("summary.json", "{}")
        stage_dir.warn(FORGETS)

    monkeypatch.setattr(stages.train, "run", train)


def outcomes(folder: Path) -> dict[tuple[str, int], str]:
    found = list(verdicts_in(folder))
    keyed = {verdict.key: verdict.verdict.value for verdict in found}
    assert len(keyed) == len(found), "a sample was graded twice"
    return keyed


def expected(num_answers: int = 4) -> dict[tuple[str, int], str]:
    """What the script says, through seeds that no other stage uses."""
    wanted = [*WANTED, "passed", "passed"][:num_answers]
    return {
        (name, index): wanted[derive_seed(0, "evaluate", "livecodebench-v6", name, index) % num_answers]
        for name in PROBLEMS
        for index in range(8)
    }


def test_the_base_alone_needs_no_prompts_and_no_training(recipe: Recipe, tmp_path: Path, opened: list[str]) -> None:
    run_dir = tmp_path / "run"
    running.run_evaluation(recipe, run_dir, "base")
    assert outcomes(run_dir / BASE) == expected()
    assert {path.name for path in run_dir.iterdir() if path.is_dir()} == {"evaluate"}
    samples = {sample.key: sample for sample in samples_in(run_dir / BASE)}
    assert set(samples) == set(expected())
    for verdict in verdicts_in(run_dir / BASE):
        sample = samples[verdict.key]
        assert (verdict.num_tokens, verdict.finish_reason) == (len(sample.token_ids), "stop")
        assert verdict.num_code_blocks == {ANSWERS[1]: 2, ANSWERS[3]: 0}.get(sample.text, 1)
        assert verdict.difficulty == dict(zip(PROBLEMS, ("easy", "medium", "hard"), strict=True))[verdict.problem_id]
    running.run_evaluation(recipe, run_dir, "base")
    assert opened == ["model"]  # nothing was to be done, so nothing was opened


def test_a_new_temperature_runs_only_its_own_point_and_one_engine_serves_all(
    recipe: Recipe, model: Path, tmp_path: Path, opened: list[str]
) -> None:
    run_dir = tmp_path / "run"
    running.run_evaluation(recipe, run_dir, "base")
    wider = recipe_for(tmp_path, model, evaluate__base_temperatures=[0.5, 0.7, 1.0])
    running.run_evaluation(wider, run_dir, "base")
    started = [event.stage for event in read_events(run_dir) if event.event == "stage_started"]
    swept = [f"evaluate/base-livecodebench-v6-t{temperature}-k20-p0.8" for temperature in ("0.5", "1")]
    assert started == [BASE, *swept]
    assert opened == ["model", "model"]  # one for each call
    states = {stage.stage: stage.state for stage in running.read_status(run_dir).stages}
    assert {name: states[name] for name in (BASE, *swept, STUDENT)} == {
        BASE: "done",
        swept[0]: "done",
        swept[1]: "done",
        STUDENT: "not started",
    }


def test_points_of_a_benchmark_share_scores_and_each_keeps_its_own_verdicts(
    recipe: Recipe, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script answers by the seed, so that every temperature draws the same four programs a problem at most."""
    asked: list[tuple[str, str]] = []
    score = ProgramProblem.score

    def counted(problem: ProgramProblem, code: str, sandbox: Sandbox) -> Score:
        asked.append((problem.problem_id, code))
        return score(problem, code, sandbox)

    monkeypatch.setattr(ProgramProblem, "score", counted)
    run_dir = tmp_path / "run"
    running.run_evaluation(recipe_for(tmp_path, model, evaluate__base_temperatures=[0.5, 1.0]), run_dir, "base")
    assert asked
    assert len(asked) == len(set(asked))
    for temperature in ("0.5", "0.7", "1"):
        assert outcomes(run_dir / f"evaluate/base-livecodebench-v6-t{temperature}-k20-p0.8") == expected()


@pytest.mark.usefixtures("fake_training")
def test_both_models_are_put_side_by_side(recipe: Recipe, model: Path, tmp_path: Path, opened: list[str]) -> None:
    wider = recipe_for(tmp_path, model, evaluate__base_temperatures=[0.9], evaluate__pass_k=[1, 5, 8])
    run_dir = tmp_path / "run"
    running.run_evaluation(wider, run_dir)
    assert outcomes(run_dir / STUDENT) == expected(6)
    assert opened == ["model", "student"]  # synthesis opens its own
    report = gather(wider, running.plan_of(wider).points, run_dir)
    found = report["benchmarks"]["livecodebench-v6"]
    rates = [sum(verdict == "passed" for verdict in expected(number).values()) / 24 for number in (4, 6)]
    points = {point["stage"]: point for point in found["points"]}
    assert points[BASE]["pass_at_k"]["all"]["pass@1"]["mean"] == pytest.approx(rates[0])
    assert points[STUDENT]["pass_at_k"]["all"]["pass@1"]["mean"] == pytest.approx(rates[1])
    change = found["difference"]["all"]["pass@1"]
    assert change["mean"] == pytest.approx(rates[1] - rates[0])
    assert change["low"] <= change["mean"] <= change["high"]
    assert set(found["difference"]) == {"all", "easy", "medium", "hard"}
    assert found["best_base"]["by"] == "pass@1"
    assert found["notes"] == ["livecodebench-v6: 3 problems, 131 were expected"]
    json.dumps(report, allow_nan=False)


@pytest.mark.usefixtures("fake_training")
def test_the_command_prints_a_table_and_json(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipes.to_toml(recipe))
    arguments = ["evaluate", str(path), "--run-dir", str(tmp_path / "run")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, catch_exceptions=False)
    for words in (
        "livecodebench-v6",
        "pass@1",
        "hard (1)",
        "base",
        "+SSD",
        "difference",
        "T=1.1 k=20 p=0.8",
        "no code",
        "in words",
        "pass@1: +SSD (T=1.1 k=20 p=0.8) ",
    ):
        assert words in result.stdout, result.stdout
    assert result.stderr.splitlines()[-1] == f"warning train: {FORGETS}"
    again = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert again.stderr.splitlines()[-1] == f"warning train: {FORGETS}"
    assert FORGETS not in CliRunner().invoke(app, [*arguments, "--only", "base"], catch_exceptions=False).stderr
    as_json = json.loads(again.stdout)
    assert as_json["benchmarks"]["livecodebench-v6"]["student"] == STUDENT
    for sentence in as_json["benchmarks"]["livecodebench-v6"]["verdict"]:
        assert " ".join(sentence.split()) in " ".join(result.stdout.split())
    assert {Path(path).parent for path in as_json["figures"]} == {tmp_path / "run" / "figures"}
    assert len(as_json["figures"]) == 6
    assert CliRunner().invoke(app, [*arguments, "--only", "both"]).exit_code == 2


def test_an_engine_that_fails_is_closed_and_what_was_drawn_is_kept(
    recipe: Recipe, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from forklock.engines.fake_engine import FakeEngine

    generate, closed = FakeEngine.generate, []

    def fails(self: FakeEngine, requests: Any, decoding: Any, **options: Any) -> Any:
        for number, completion in enumerate(generate(self, requests, decoding, **options)):
            if number == 5:
                raise EngineError("lost")
            yield completion

    monkeypatch.setattr(FakeEngine, "__exit__", lambda *ignored: closed.append(1))
    with monkeypatch.context() as patch:
        patch.setattr(FakeEngine, "generate", fails)
        with pytest.raises(EngineError, match="lost"):
            running.run_evaluation(recipe, tmp_path / "run", "base")
    assert len(closed) == 1
    assert len(list(samples_in(tmp_path / "run" / BASE))) == 5
    running.run_evaluation(recipe, tmp_path / "run", "base")
    assert outcomes(tmp_path / "run" / BASE) == expected()
    assert opened == ["model", "model"]


@pytest.mark.parametrize(("kind", "shard"), [("samples", 0), ("verdicts", 0), ("verdicts", 2)])
def test_killed_anywhere_it_goes_on(kind: str, shard: int, recipe: Recipe, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=evaluate, args=(recipe, tmp_path / "run", kind, shard))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    num_kept = len(list(verdicts_in(tmp_path / "run" / BASE)))
    assert (num_kept == 0) is (shard == 0)
    running.run_evaluation(recipe, tmp_path / "run", "base")
    assert outcomes(tmp_path / "run" / BASE) == expected()
    graded = [event for event in read_events(tmp_path / "run") if event.event == "graded"]
    assert [event.details["num_samples"] for event in graded] == [24 - num_kept]


def test_a_sandbox_that_cannot_start_is_said_before_anything_is_drawn(
    recipe: Recipe, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from forklock.sandbox.pool import Sandbox
    from forklock.sandbox.worker import SandboxUnavailableError

    def refuse(self: Sandbox) -> Sandbox:
        raise SandboxUnavailableError("no user namespace")

    monkeypatch.setattr(Sandbox, "__enter__", refuse)
    with pytest.raises(SandboxUnavailableError):
        running.run_evaluation(recipe, tmp_path / "run", "base")
    assert opened == []


@pytest.mark.slow
def test_a_trained_model_is_evaluated(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    """With a real model and real training: it knows nothing, and every verdict is there."""
    write_files(tmp_path)
    recipe = recipe_for(
        tmp_path, tiny_model("qwen3"), engine={"kind": "transformers"}, evaluate__num_samples_per_problem=2,
        evaluate__pass_k=[1],
    )  # fmt: skip
    running.run_evaluation(recipe, tmp_path / "run")
    for name in (BASE, STUDENT):
        assert set(outcomes(tmp_path / "run" / name)) == {
            (problem, index) for problem in PROBLEMS for index in range(2)
        }
    texts = [
        {sample.key: sample.token_ids for sample in samples_in(tmp_path / "run" / name)} for name in (BASE, STUDENT)
    ]
    assert texts[0] != texts[1]
