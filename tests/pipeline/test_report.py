"""Reports: every number from the files of the folder, whatever became of the run."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_cases import NUM_SAMPLES, lifelike
from report_folder import (
    BASE_POINT,
    HOSTILE,
    NUM_PROBLEMS,
    STUDENT_POINT,
    make_run,
    report_recipe,
    training_summary,
)
from typer.testing import CliRunner

from forklock import recipes, running
from forklock.benchmarks import VerdictName
from forklock.cli import app
from forklock.config import Recipe
from forklock.evaluate import outcome
from forklock.evaluate.verdicts import read_verdicts, write_verdicts
from forklock.report import alerts, build, tokens
from forklock.report.contents import Contents
from forklock.run_dir import (
    NotARunFolderError,
    RunStatus,
    Stage,
    StageDir,
    StageStatus,
    open_run,
    run_stages,
    write_text,
)
from forklock.sweep.cells import plan_sweep

TinyModel = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures have tests of their own, and take longer than all the rest."""
    monkeypatch.setattr(outcome.figures, "draw", lambda report, folder: [])


@pytest.fixture(scope="module")
def recipe(tiny_model: TinyModel) -> Recipe:
    return report_recipe(tiny_model("qwen3"))


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(recipe, Path(recipe.model.path), tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def page_of(run_dir: Path) -> str:
    return build(run_dir).path.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def summary_of(page: str) -> str:
    start = page.index('<section id="summary">')
    return re.sub(r"<[^>]+>", " ", page[start : page.index("</section>", start)])


def test_the_table_is_the_verdicts_and_follows_them(run_dir: Path, recipe: Recipe) -> None:
    plan = next(point for point, stage in running.plan_of(recipe).points["student"].items() if stage == STUDENT_POINT)
    before = 100 * sum(lifelike(plan, NUM_PROBLEMS)) / (NUM_PROBLEMS * NUM_SAMPLES)
    table = run_dir / "report" / "results-microworld-pass1.md"
    build(run_dir)
    assert f"| +SSD (T=1.6 k=20 p=0.8) | {before:.1f} " in table.read_text()
    shard = run_dir / STUDENT_POINT / "verdicts-00000.parquet"
    verdicts = list(read_verdicts(shard))
    failed = next(index for index, verdict in enumerate(verdicts) if not verdict.passed)
    verdicts[failed] = dataclasses.replace(verdicts[failed], verdict=VerdictName.PASSED)
    write_verdicts(shard, verdicts)
    page = page_of(run_dir)
    after = before + 100 / (NUM_PROBLEMS * NUM_SAMPLES)
    assert f"| +SSD (T=1.6 k=20 p=0.8) | {after:.1f} " in table.read_text()
    assert f"{after:.1f} " in summary_of(page)
    # And it says that the file is not what was recorded, where its size shows it.
    assert ("Damaged" in page) == (shard.stat().st_size != _recorded_size(run_dir / STUDENT_POINT, shard.name))


def _recorded_size(stage: Path, name: str) -> int:
    size: int = json.loads((stage / "manifest.json").read_text())["outputs"][name]["num_bytes"]
    return size


def test_figures_hold_the_numbers_of_the_outcome(run_dir: Path) -> None:
    built = build(run_dir)
    figures = {figure["id"]: figure for figure in data_of(built.path.read_text())["figures"]}
    points = {point["stage"]: point for point in built.outcome["benchmarks"]["microworld"]["points"]}
    panel = figures["figure-temperatures-microworld"]["panels"][0]
    labels = [series["label"] for series in figures["figure-temperatures-microworld"]["series"]]
    base = dict(zip(labels, panel["series"], strict=True))["base, k=20 p=0.8"]["points"]
    assert [point["x"] for point in base] == [0.5, 0.7]
    assert base[1]["y"] == points[BASE_POINT]["pass_at_k"]["all"]["pass@1"]["mean"]
    assert base[1]["own"]
    assert "own" not in base[0]
    for figure in figures.values():
        for one in figure["panels"]:
            assert len(one["series"]) == len(figure["series"]), figure["id"]
    assert {"figure-06", "figure-moves", "figure-entropies", "figure-syntax", "figure-loss"} <= figures.keys()


def test_the_reader_has_the_rows_of_the_analysis(run_dir: Path) -> None:
    reader = data_of(page_of(run_dir))["reader"]
    assert len(reader["solutions"]) == 4
    for solution in reader["solutions"]:
        for token in solution["tokens"]:
            alternatives = token[5]
            ids, base, trained = alternatives[::3], alternatives[1::3], alternatives[2::3]
            assert token[0] in ids
            assert len(set(ids)) == len(ids) <= 6
            assert base == trained  # the same model before and after
            assert token[3] == 0
            assert sum(base) <= 10_000 + len(base)
            assert {str(id_) for id_ in ids} <= reader["texts"].keys()


def test_a_long_solution_is_cut_and_says_so(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data_of(page_of(run_dir))["reader"]["solutions"][0]
    monkeypatch.setattr(tokens, "MOST_TOKENS", len(whole["tokens"]) - 1)
    (cut,) = data_of(page_of(run_dir))["reader"]["solutions"]
    assert cut["tokens"] == whole["tokens"][:-1]
    assert cut["words"] == f"{whole['words']} Only the first {len(cut['tokens'])} are shown."


def test_both_models_solutions_stand_side_by_side(run_dir: Path) -> None:
    (pairs,) = data_of(page_of(run_dir))["pairs"]
    assert len(pairs["problems"]) == 4
    for problem in pairs["problems"]:
        number = int(problem["name"][8:11])
        for side in problem["sides"]:
            assert [sample["index"] for sample in side] == [0, 1, 2, 3, 4]
            assert all(f"problem {number}, answer {sample['index']}" in sample["text"] for sample in side)
            assert all(sample["passed"] == (sample["verdict"] == "passed") for sample in side)


def test_no_text_of_a_model_is_markup(recipe: Recipe, tmp_path: Path) -> None:
    page = page_of(make_run(recipe, Path(recipe.model.path), tmp_path / "run", text=HOSTILE))
    assert "<script>window" not in page
    assert "<img" not in page
    assert "<svg onload" not in page
    assert page.count("</script>") == 2  # the data and the program
    assert "\x00" not in page
    assert "\u202e" not in page
    assert "connect-src" not in page
    assert "default-src 'none'; script-src 'sha256-" in html.unescape(page)


def test_an_unfinished_run_says_so_and_shows_what_there_is(recipe: Recipe, tmp_path: Path) -> None:
    model = Path(recipe.model.path)
    page = page_of(make_run(recipe, model, tmp_path / "run", last="synthesize"))
    assert "Unfinished run" in page
    assert "Nothing is evaluated yet" in page
    assert "2 of 11 stages are complete" in page
    assert not data_of(page)["figures"]
    assert not data_of(page)["pairs"]
    page = page_of(make_run(recipe, model, tmp_path / "run", last=BASE_POINT))
    assert "Only one of the two models is evaluated" in page
    assert [figure["id"] for figure in data_of(page)["figures"]] == ["figure-temperatures-microworld", "figure-loss"]
    assert "There is no analysis" in page


def test_a_failed_run_says_why(run_dir: Path, recipe: Recipe) -> None:
    def fail(stage_dir: StageDir) -> None:
        raise OSError("the disk is on <fire>")

    shutil.rmtree(run_dir / "analyze")
    stage = running.plan_of(recipe).stages["analyze"]
    with open_run(run_dir) as run, pytest.raises(OSError, match="fire"):
        run_stages(run, [Stage(**{**_fields(stage), "body": fail})])
    page = page_of(run_dir)
    assert "Failed" in page
    assert "the disk is on &lt;fire&gt;" in page
    assert "Unfinished run" in page
    assert data_of(page)["pairs"]
    assert not data_of(page)["reader"]["solutions"]


def _fields(stage: Stage) -> dict[str, Any]:
    return {field.name: getattr(stage, field.name) for field in dataclasses.fields(stage)}


@pytest.mark.parametrize(
    ("damaged", "lost"),
    [
        ("analyze/summary.json", "figure-06"),
        ("analyze/tokens-00000.parquet", None),
        (f"{STUDENT_POINT}/verdicts-00000.parquet", None),
        (f"{STUDENT_POINT}/samples-00000.parquet", None),
        (f"{BASE_POINT}/summary.json", "figure-gains-microworld"),
        ("train/summary.json", None),
        ("train/curve.csv", None),
        ("prompts/prompts.parquet", None),
        ("train/model/tokenizer.json", None),
        (f"{BASE_POINT}/provenance.json", None),
    ],
)
def test_damage_is_named_and_the_rest_is_shown(run_dir: Path, damaged: str, lost: str | None) -> None:
    path = run_dir / damaged
    path.write_bytes(b"\x00broken\xff" + path.read_bytes()[:40])
    page = page_of(run_dir)
    assert re.search(r'class="alert bad"', page)
    assert Path(damaged).name in page[: page.index('<section id="summary">')]
    figures = {figure["id"] for figure in data_of(page)["figures"]}
    assert lost is None or lost not in figures
    assert "figure-temperatures-microworld" in figures


def test_what_ails_many_stages_is_said_once(run_dir: Path, recipe: Recipe) -> None:
    points = [stage for found in running.plan_of(recipe).points.values() for stage in found.values()]
    for stage in points:
        (run_dir / stage / "verdicts-00000.parquet").write_bytes(b"broken")
    page = page_of(run_dir)
    top = page[: page.index('<section id="summary">')]
    assert [top.count(title) for title in ("Could not be read", "Damaged")] == [1, 1]
    assert all(stage in top for stage in points)
    assert str(run_dir) not in top


def test_lost_stop_tokens_and_missing_isolation_are_said_first(run_dir: Path) -> None:
    summary = training_summary("the model is losing its stop token: it fell from 0.99 to 0.20")
    (run_dir / "train" / "summary.json").write_text(json.dumps(summary))
    shard = run_dir / STUDENT_POINT / "verdicts-00000.parquet"
    verdicts = [
        dataclasses.replace(verdict, is_isolated=False, finish_reason="length" if verdict.sample_index else "stop")
        for verdict in read_verdicts(shard)
    ]
    write_verdicts(shard, verdicts)
    page = page_of(run_dir)
    top = page[: page.index('<section id="summary">')]
    assert "losing its stop token: it fell from 0.99 to 0.20" in top
    assert "WITHOUT full isolation" in top
    assert "90.0% of its samples run into the length limit, 0.0% of the base" in top
    assert "Nothing to warn of" not in top


def test_a_clean_run_says_that_too(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "+SSD writes more 150 tokens a solution, the base 100" in re.sub(r"<[^>]+>", "", page_of(finished))
    monkeypatch.setattr(alerts, "MUCH_LONGER", 1.0)
    assert "Nothing to warn of: all 11 stages are complete" in page_of(finished)


def test_differences_within_noise_are_called_so(run_dir: Path) -> None:
    base, student = (run_dir / stage / "verdicts-00000.parquet" for stage in (BASE_POINT, STUDENT_POINT))
    write_verdicts(student, list(read_verdicts(base)))
    text = summary_of(page_of(run_dir))
    assert "ties with the base at its own decoding" in text
    assert "within noise" in text


def test_a_baseline_is_never_called_self_distillation(run_dir: Path, recipe: Recipe) -> None:
    train = recipe.train.model_copy(update={"only_verified_samples": True})
    baseline = recipe.model_copy(update={"name": "demo-verified-only", "train": train})
    write_text(run_dir / "recipe.toml", recipes.to_toml(baseline))
    page = page_of(run_dir)
    assert "A baseline, not self-distillation: the frozen model" in summary_of(page)
    assert "verified-only (T=1.6 k=20 p=0.8)" in summary_of(page)
    assert data_of(page)["pairs"][0]["labels"] == ["base", "verified-only"]
    tables = [path.read_text() for path in (run_dir / "report").iterdir()]
    assert not [text for text in [page, *tables] if "+SSD" in text or "unverified" in text]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotARunFolderError, match=r"no recipe\.toml"):
        build(tmp_path)
    with pytest.raises(NotARunFolderError, match="no such folder"):
        build(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_the_command_names_the_page(run_dir: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(run_dir), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"run_dir": str(run_dir), "report": str(run_dir / "report.html")}
    assert (run_dir / "report.html").stat().st_size < 3_000_000


def test_a_run_ends_with_its_report(run_dir: Path) -> None:
    manifest = run_dir / "train" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "warnings": ["it forgets to stop"]}))
    arguments = ["run", str(run_dir / "recipe.toml"), "--run-dir", str(run_dir)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"Report: {run_dir / 'report.html'}"
    assert (run_dir / "report.html").is_file()
    assert "warning train: it forgets to stop\n" in result.stderr
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert found["report"] == str(run_dir / "report.html")
    for command, times in (("analyze", 1), ("train", 0)):  # training prints its own warnings with its counts
        result = CliRunner().invoke(app, [command, *arguments[1:], "--json"], catch_exceptions=False)
        assert result.stderr.count("warning train: it forgets to stop\n") == times


@pytest.mark.parametrize(
    ("missing", "title"), [("analyze", "A sweep by itself"), ("students/train-t0.5-k20-p0.9", "Unfinished run")]
)
def test_a_sweep_is_not_unfinished_for_what_it_does_not_need(missing: str, title: str, tmp_path: Path) -> None:
    recipe = recipes.load(["demo-sweep"])
    names = plan_sweep(recipe).plan.stages
    assert missing in names
    states = [StageStatus(stage=name, state="not started" if name == missing else "done") for name in names]
    status = RunStatus(run_dir=str(tmp_path), holder=None, stages=tuple(states))
    plan, outcome = running.plan_of(recipe), {"benchmarks": {}}
    contents = Contents(tmp_path, recipe, plan, status, outcome, {}, None, {"benchmarks": {}}, [])
    assert [alert.title for alert in alerts.alerts(contents)] == [title]


def test_a_sweep_is_shown_with_its_figures(run_dir: Path) -> None:
    estimate = {"mean": 0.5, "low": 0.4, "high": 0.6}
    decoding = {"temperature": 0.7, "top_k": 20, "top_p": 0.8}
    found = {"all": {"pass@1": estimate, "pass@5": estimate}}
    cell = {"train": decoding, "eval": decoding, "target": "hard", "seed": 0, "checkpoint": None}
    cell |= {"effective_temperature": 0.49, "stage": "evaluate/cell"}
    cells = [{**cell, "state": "done", "pass_at_k": found}, {**cell, "state": "failed", "pass_at_k": None}]
    noise, gain = {"mean": 0.01, "low": -0.02, "high": 0.04}, {"mean": 0.05, "low": 0.02, "high": 0.08}
    best = {"k": 1, "cell": "evaluate/cell", "base": "evaluate/base", "num_cells": 1, "num_base_points": 1}
    fit = {"k": 1, "train_top_k": 0, "train_top_p": 1.0, "target": "hard", "eval_top_k": 20, "eval_top_p": 0.8}
    benchmark = {
        "base": [{"decoding": decoding, "pass_at_k": found, "stage": "evaluate/base"}],
        "cells": cells,
        "best": [{**best, "to_base_own": {"all": gain}, "to_best_base": {"all": noise}}],
        "fits": [{**fit, "num_points": 2, "fit": None}],
        "caution": "Chosen on these same problems.",
    }
    folder = run_dir / "sweep"
    (folder / "figures").mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"benchmarks": {"microworld": benchmark}}))
    (folder / "figures" / "heat-microworld-pass1.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "figures" / "heat-microworld-pass1.csv").write_text("T")
    page = page_of(run_dir)
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "microworld: the best of 1 cells minus the base" in text
    assert "+5.0 +2.0 to +8.0 gain" in text
    assert "+1.0 -2.0 to +4.0 within noise" in text
    assert "no truncation 2 - -" in text
    assert "is there a ridge?" in text
    assert 'href="sweep/figures/heat-microworld-pass1.csv"' in page
    assert "microworld: every cell of the sweep" in page
    assert "failed" in page
    assert 'src="data:image/svg+xml;base64,' in page
    assert (run_dir / "report" / "sweep-cells-microworld.tex").is_file()
