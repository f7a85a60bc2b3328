"""Plan and preview against a run of the microworld's own model: what was foretold, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sandbox_cases import open_sandbox
from scipy import stats
from typer.testing import CliRunner

from forklock import recipes, running
from forklock.cli import app
from forklock.config import Recipe
from forklock.evaluate import verdicts_in
from forklock.microworld.rows import write_problems
from forklock.planning.estimate import Estimate, estimate
from forklock.planning.measured import num_bytes
from forklock.preview import cells, figure, prediction
from forklock.preview.cells import PreviewError
from forklock.run_dir import read_events, read_manifest, read_provenance
from forklock.run_dir.manifest import MANIFEST_NAME
from forklock.sampling import draw, samples_in

NUM_PROMPTS, NUM_PROBLEMS, NUM_SAMPLES = 96, 12, 4
pytestmark = pytest.mark.slow


def make_recipe(folder: Path, *overrides: str) -> Recipe:
    settings = [
        f"prompts.limit={NUM_PROMPTS}",
        "train.epochs=1.5",
        "train.warmup_steps=1",
        "train.checkpoint_every_steps=2",
        f"evaluate.data_paths.microworld={folder / 'problems.jsonl'}",
        f"evaluate.num_samples_per_problem={NUM_SAMPLES}",
        "evaluate.pass_k=[1, 2]",
        "evaluate.base_temperatures=[1.0]",
        "evaluate.student_temperatures=[1.0]",
        "evaluate.base_grid=none",
    ]
    return recipes.load(["demo"], [*settings, *overrides])


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, its problems beside it. The analysis is left out: too few samples are held out for one."""
    with open_sandbox():
        pass  # or skip
    folder = tmp_path_factory.mktemp("foresight")
    write_problems(folder / "problems.jsonl", "eval", 3, NUM_PROBLEMS)
    running.run_evaluation(make_recipe(folder), folder / "run")
    return folder / "run"


def interval(folder: Path) -> tuple[float, float]:
    (attempt,) = read_provenance(folder).attempts
    assert attempt.duration_s is not None
    begin = datetime.fromisoformat(attempt.started).timestamp()
    return begin, begin + attempt.duration_s


def covered_s(intervals: Iterable[tuple[float, float]]) -> float:
    """The time in which anything was at work."""
    total, until = 0.0, 0.0
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def test_a_plan_says_what_the_run_then_took(run_dir: Path) -> None:
    plan = estimate(make_recipe(run_dir.parent), Path("not-begun"), run_dir)
    assert not any(work.is_done for work in plan.work)
    intervals, planned_bytes, found_bytes = [], 0.0, 0
    for work in plan.work:
        if work.kind == "analyze":
            continue
        folder = run_dir / work.stage
        if work.kind in ("synthesize", "evaluate"):
            assert work.num_samples == len(list(samples_in(folder)))
        if work.kind == "evaluate":
            assert work.num_graded == len(list(verdicts_in(folder)))
        if work.kind == "train":
            summary = json.loads((folder / "summary.json").read_text())
            assert work.num_steps == summary["num_steps"] == 5
            assert work.num_trained_on == summary["num_trained_on"]
            assert len(list(folder.glob("checkpoint-*"))) == 2
        planned_bytes += work.num_bytes
        found_bytes += num_bytes(read_manifest(folder / MANIFEST_NAME))
        intervals.append(interval(folder))
    assert planned_bytes == pytest.approx(found_bytes, rel=0.1)
    planned_s = sum(plan.times[work.stage].seconds or 0.0 for work in plan.work if work.kind != "analyze")
    # Stages were taken side by side. Both are off the same records: no clock decides.
    assert planned_s == pytest.approx(covered_s(intervals), rel=0.05)


def test_a_plan_from_one_run_holds_for_another_of_another_size(run_dir: Path, tmp_path: Path) -> None:
    other = make_recipe(run_dir.parent, "prompts.limit=250", "seed=3")
    work = {each.stage: each for each in estimate(other, tmp_path / "other", run_dir).work}["synthesize"]
    running.run_until(other, tmp_path / "other", "synthesize")
    samples = list(samples_in(tmp_path / "other" / "synthesize"))
    assert work.num_samples == len(samples) == 250
    assert work.num_tokens == pytest.approx(sum(len(sample.token_ids) for sample in samples), rel=0.1)
    found = num_bytes(read_manifest(tmp_path / "other" / "synthesize" / MANIFEST_NAME), "samples-")
    assert found == pytest.approx(work.num_bytes, rel=0.35)  # a file's own head and foot weigh on small shards


def test_what_is_done_is_not_counted_as_still_to_do(run_dir: Path) -> None:
    def states(*overrides: str) -> Estimate:
        return estimate(make_recipe(run_dir.parent, *overrides), run_dir, run_dir)

    assert [work.stage for work in states().remaining] == ["analyze"]
    hotter = states("evaluate.student_decoding={temperature=1.9, top_k=20, top_p=0.8}")
    names = {work.stage for work in hotter.remaining}
    assert names == {
        "analyze",
        "evaluate/student-microworld-t1.9-k20-p0.8",
        "evaluate/soft-microworld-t1.9-k20-p0.8",
    }
    total, rest = (hotter.as_json()[part] for part in ("total", "remaining"))
    assert rest["num_graded"] == 2 * NUM_PROBLEMS * NUM_SAMPLES < total["num_graded"]


def preview(recipe: Recipe, run_dir: Path) -> dict[str, Any]:
    running.run_points(recipe, run_dir, [*cells.base_points(recipe), *cells.played_points(recipe)])
    return prediction.gather(recipe, run_dir)


def test_a_preview_plays_ranks_and_is_put_beside_what_was_trained(run_dir: Path) -> None:
    recipe = make_recipe(run_dir.parent)
    before = {event.time for event in read_events(run_dir)}
    report = preview(recipe, run_dir)
    events = [event for event in read_events(run_dir) if event.time not in before]
    sampled = [str(event.stage) for event in events if event.event == "sampled"]
    assert sampled == [
        "preview/microworld-t0.7-k20-p0.9-then-t1.6-k20-p0.8",
        "preview/microworld-t0.7-k20-p0.9-then-t1-k20-p0.8",
    ]  # the base's own point is the run's
    assert not [event for event in events if event.event == "trained"]
    benchmark = report["benchmarks"]["microworld"]
    means = [cell["pass_at_k"]["all"]["pass@1"]["mean"] for cell in benchmark["cells"]]
    assert means == sorted(means, reverse=True)
    assert [len(cell["trained"]) for cell in benchmark["cells"]] == [2, 2]  # hard and soft
    assert benchmark["agreement"]["pass@1"]["num_pairs"] == 4
    errors = [
        means[number] - trained["pass_at_k"]["all"]["pass@1"]["mean"]
        for number, cell in enumerate(benchmark["cells"])
        for trained in cell["trained"]
    ]
    assert benchmark["agreement"]["pass@1"]["mean_error"] == pytest.approx(np.mean(errors))
    paths = figure.draw(report, run_dir / "figures")
    assert sorted(path.suffix for path in paths) == [".csv", ".png", ".svg"]

    again = preview(recipe, run_dir)
    assert again == report
    assert sum(event.event == "sampled" and str(event.stage) in sampled for event in read_events(run_dir)) == 2


def test_a_killed_preview_goes_on(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(run_dir.parent, "engine.strict=true", "evaluate.student_temperatures=[]")
    whole = preview(recipe, tmp_path / "whole")
    degeneracy_of, seen = draw.degeneracy_of, []

    def interrupted(text: str) -> Any:
        seen.append(text)
        if len(seen) == 60:  # the base's 48 samples, and 12 of the played student's
            raise KeyboardInterrupt
        return degeneracy_of(text)

    with monkeypatch.context() as patched:
        patched.setattr(draw, "degeneracy_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            preview(recipe, tmp_path / "killed")
    kept = len(list(samples_in(tmp_path / "killed" / cells.played_points(recipe)[0].stage_name)))
    assert 0 < kept < NUM_PROBLEMS * NUM_SAMPLES
    assert preview(recipe, tmp_path / "killed") == whole


def test_a_played_point_counts_the_frozen_model_and_both_decodings(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems.jsonl", "eval", 3, NUM_PROBLEMS)
    sweep = ["sweep.train_temperatures=[0.5, 1.0]", "sweep.eval_temperatures=[0.7, 1.3]"]
    sweep.append("sweep.train_truncations=[{top_k=20, top_p=0.9}, {}]")
    recipe = make_recipe(tmp_path, *sweep)
    points = cells.played_points(recipe)
    assert len(points) == 2 * 2 * 2
    assert len({point.stage_name for point in points}) == 8
    configs = [json.dumps(point.config(recipe), sort_keys=True) for point in points]
    assert len(set(configs)) == 8
    (base,) = cells.base_points(recipe)
    assert "plays" not in base.config(recipe)  # as it was before there were previews


def test_other_engines_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(PreviewError, match=r'engine\.kind = "vllm" can\'t play'):
        cells.check_engine(recipes.load(["qwen3-4b-instruct"]))
    with pytest.raises(
        PreviewError, match=r"cluster\.address = 'auto': .* engine\.kind = \"transformers\" on the machine"
    ):
        cells.check_engine(recipes.load(["demo"], ["cluster.address=auto"]))
    cells.check_engine(recipes.load(["demo"], ["cluster.address=none"]))
    answer = CliRunner().invoke(app, ["preview", "qwen3-4b-instruct", "--run-dir", str(tmp_path / "run")])
    assert isinstance(answer.exception, PreviewError)
    assert not (tmp_path / "run").exists()


def test_rank_correlation_is_scipys() -> None:
    generator = np.random.default_rng(1)
    for number in (3, 8, 40):
        first, second = generator.integers(0, 6, (2, number)).astype(float)
        assert prediction.spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert prediction.spearman(np.array([1.0, 2.0]), np.array([2.0, 1.0])) is None
    assert prediction.spearman(np.ones(5), np.arange(5.0)) is None
