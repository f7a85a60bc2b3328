"""Figures of a sweep: their numbers are the report's, what is missing is shown, the same report draws the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_cases import NUM_SAMPLES, check_layout, demo, leave_points

from forklock import figure_style
from forklock.config import Recipe
from forklock.evaluate.points import PointPlan
from forklock.sweep.cells import plan_sweep
from forklock.sweep.conclude import conclude
from forklock.sweep.figures import draw
from forklock.sweep.results import gather

NUM_PROBLEMS = 30
TEMPERATURES = (
    "sweep={train_temperatures=[0.5, 0.7, 1.0], train_truncations=[{top_k=20, top_p=0.9}, {}], "
    "eval_temperatures=[0.7, 1.3, 2.0]}"
)
ABLATIONS = (
    "sweep={targets=['hard', 'soft'], seeds=[0, 1], eval_temperatures=[0.7, 1.3], all_checkpoints=true}",
    "train.epochs=none",
    "train.steps=60",
    "train.checkpoint_every_steps=20",
    "evaluate.benchmarks=['microworld', 'humaneval']",
)


def counts_of(plan: PointPlan) -> list[int]:
    """Bent over temperature, and a little more for later checkpoints and soft targets."""
    level = 0.2 - (plan.decoding.temperature - 1.2) ** 2 + 0.2 * ("soft" in plan.model) + (plan.checkpoint or 60) / 200
    generator = np.random.default_rng(round(1000 * level) % 997 + len(plan.model))
    ease = level - 0.9 * (np.arange(NUM_PROBLEMS) % 3)
    found: list[int] = generator.binomial(NUM_SAMPLES, 1 / (1 + np.exp(-ease))).tolist()
    return found


def swept(run_dir: Path, *overrides: str) -> Recipe:
    """Points of everything but one cell of the last training, which is missing."""
    recipe = demo(*overrides)
    planned = plan_sweep(recipe)
    plans = {stage: plan for stages in planned.plan.points.values() for plan, stage in stages.items()}
    wanted = dict.fromkeys(planned.wanted)
    del wanted[planned.cells[-1].stage]
    leave_points(run_dir, {name: plans[name] for name in wanted}, counts_of)
    return recipe


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def report(run_dir: Path) -> dict[str, Any]:
    recipe = swept(run_dir, TEMPERATURES)
    return conclude(recipe, run_dir)


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_dots_and_fields_are_the_cells(report: dict[str, Any], run_dir: Path) -> None:
    folder = run_dir / "sweep" / "figures"
    cells = {row["stage"]: row for row in report["benchmarks"]["microworld"]["cells"]}
    assert len(cells) == 18
    dots = rows_of(folder, "effective-temperature-microworld")
    assert len(dots) == 2 * 18
    for dot in dots:
        cell = cells[dot["stage"]]
        assert float(dot["effective_temperature"]) == cell["effective_temperature"]
        assert dot["state"] == cell["state"]
        if cell["state"] == "done":
            assert float(dot["mean"]) == cell["pass_at_k"]["all"][f"pass@{dot['k']}"]["mean"]
        else:
            assert dot["mean"] == ""
    assert [dot["state"] for dot in dots].count("missing") == 2
    for k in (1, 5):
        by_place = {
            (row["train"]["top_k"], row["train"]["temperature"], row["eval"]["temperature"]): row
            for row in cells.values()
        }
        fields = rows_of(folder, f"heat-microworld-pass{k}")
        assert len(fields) == 18
        for field in fields:
            top_k = 0 if field["group"] == "no truncation" else 20
            cell = by_place[top_k, float(field["train_temperature"]), float(field["eval_temperature"])]
            assert field["state"] == cell["state"]
            if cell["state"] == "done":
                assert float(field["mean"]) == cell["pass_at_k"]["all"][f"pass@{k}"]["mean"]


def test_fits_are_those_of_the_dots(report: dict[str, Any], run_dir: Path) -> None:
    dots = rows_of(run_dir / "sweep" / "figures", "effective-temperature-microworld")
    for fit in report["benchmarks"]["microworld"]["fits"]:
        group = "k=20 p=0.9" if fit["is_truncated"] else "no truncation"
        mine = [dot for dot in dots if dot["group"] == group and dot["k"] == str(fit["k"]) and dot["mean"]]
        expected = np.polyfit(
            [float(dot["effective_temperature"]) for dot in mine], [float(dot["mean"]) for dot in mine], 2
        )
        assert [fit["fit"][name] for name in "abc"] == pytest.approx(expected, rel=1e-8)
        assert fit["num_points"] == len(mine) == (9 if fit["is_truncated"] else 8)


def test_they_are_drawn_anew_to_the_same_bytes(report: dict[str, Any], run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "of-an-earlier-call.png").write_bytes(b"")
    folder = run_dir / "sweep" / "figures"
    paths = draw(report, tmp_path)
    assert sorted(path.name for path in paths) == sorted(path.name for path in folder.iterdir())
    assert sorted(paths) == sorted(tmp_path.iterdir())
    for path in paths:
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_ablations_are_paired_with_their_own(tmp_path: Path) -> None:
    recipe = swept(tmp_path, *ABLATIONS)
    report = conclude(recipe, tmp_path)
    benchmark = report["benchmarks"]["microworld"]
    cells = {row["stage"]: row for row in benchmark["cells"]}
    means = {stage: row["pass_at_k"]["all"] for stage, row in cells.items()}
    assert len(benchmark["targets"]) == 2 * 2 * 3 * 2  # seeds, decodings, checkpoints, k
    for pair in benchmark["targets"]:
        soft, hard = (means[pair[side]][f"pass@{pair['k']}"]["mean"] for side in ("soft", "hard"))
        settings = [
            [cells[pair[side]][name] for name in ("train", "seed", "checkpoint", "eval")] for side in ("soft", "hard")
        ]
        assert settings[0] == settings[1]
        assert [cells[pair[side]]["target"] for side in ("soft", "hard")] == ["soft", "hard"]
        assert pair["difference"]["all"]["mean"] == pytest.approx(soft - hard, abs=1e-12)
    best = {found["k"]: found["cell"] for found in benchmark["best"]}
    assert {row["benchmark"] for row in report["transfer"]} == {"microworld", "humaneval"}
    for row in report["transfer"]:
        assert row["cell_stage"].replace(row["benchmark"], "microworld") == best[1]
    for row in rows_of(tmp_path / "sweep" / "figures", "checkpoints-microworld"):
        alike = [
            cell["pass_at_k"]["all"][f"pass@{row['k']}"]["mean"]
            for cell in benchmark["cells"]
            if cell["model"] == row["model"] and cell["eval"]["temperature"] == float(row["eval_temperature"])
        ]
        assert len(alike) == 3
        assert float(row["mean"]) == max(alike)


def test_curves_end_at_the_number_of_samples_and_agree_with_the_rows(report: dict[str, Any]) -> None:
    benchmark = report["benchmarks"]["microworld"]
    rows = {row["stage"]: row for row in (*benchmark["base"], *benchmark["cells"])}
    curves = benchmark["pass_curves"]
    assert sorted({row["k"] for row in curves}) == [1, 2, 4, 8, 10]
    for row in curves:
        if row["k"] == 1:
            assert row["mean"] == pytest.approx(rows[row["stage"]]["pass_at_k"]["all"]["pass@1"]["mean"], abs=1e-12)
    for label in {row["label"] for row in curves}:
        means = [row["mean"] for row in curves if row["label"] == label]
        assert means == sorted(means)


def test_before_anything_is_done_nothing_is_claimed(tmp_path: Path) -> None:
    recipe = demo(TEMPERATURES)
    report = gather(recipe, plan_sweep(recipe), tmp_path, {})
    assert report["num_cells_by_state"] == {"missing": 18}
    benchmark = report["benchmarks"]["microworld"]
    assert benchmark["best"] == benchmark["pass_curves"] == benchmark["targets"] == report["transfer"] == []
    assert [fit["fit"] for fit in benchmark["fits"]] == [None] * 4
    draw(report, tmp_path / "figures")


@pytest.mark.parametrize("overrides", [(TEMPERATURES,), ABLATIONS])
def test_no_text_overlaps(overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Figure] = {}

    def keep(figure: Figure, folder: Path, name: str) -> list[Path]:
        drawn[name] = figure
        return []

    recipe = swept(tmp_path, *overrides)
    report = gather(recipe, plan_sweep(recipe), tmp_path, {})
    monkeypatch.setattr(figure_style, "save", keep)
    draw(report, tmp_path / "figures")
    with figure_style.house_style():
        for name, figure in drawn.items():
            check_layout(figure, name)
