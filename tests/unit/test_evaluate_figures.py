"""Figures of an evaluation: their numbers are the report's, and they are drawn whole and the same each time."""

from __future__ import annotations

import csv
import errno
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from report_cases import check_layout, concluded, demo, lifelike

from forklock import cli, figure_style, recipes, running
from forklock.evaluate import figures
from forklock.evaluate.points import PointPlan
from forklock.figure_data import write_csv
from forklock.run_dir import StorageError, verify_run, write_text

NAMES = ("gains-microworld", "temperatures-microworld")


def few_problems(plan: PointPlan) -> list[int]:
    return lifelike(plan, num_problems=30)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def report(run_dir: Path) -> dict[str, Any]:
    return concluded(demo(), run_dir, few_problems)


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_temperatures_are_those_of_the_report(report: dict[str, Any], run_dir: Path) -> None:
    benchmark = report["benchmarks"]["microworld"]
    points = {point["stage"]: point for point in benchmark["points"]}
    rows = rows_of(run_dir / "figures", "temperatures-microworld")
    assert len(rows) == 2 * len(points) == 2 * (6 + 10 + 4 + 4)
    for row in rows:
        point = points[row["stage"]]
        found = point["pass_at_k"]["all"][f"pass@{row['k']}"]
        assert {key: float(row[key]) for key in found} == found
        assert {key: float(row[key]) for key in point["decoding"]} == point["decoding"]
        assert row["model"] == point["model"]
    own = {row["stage"] for row in rows if row["is_own_decoding"] == "True"}
    assert own == {benchmark["base"], benchmark["student"], benchmark["others"]["soft"]["stage"]}


def test_gains_are_those_of_the_report(report: dict[str, Any], run_dir: Path) -> None:
    benchmark = report["benchmarks"]["microworld"]
    rows = rows_of(run_dir / "figures", "gains-microworld")
    assert len(rows) == 2 * 2 * 2 * 4  # students, bases, k, groups
    of_student = {"student": benchmark, "soft": benchmark["others"]["soft"]}
    for row in rows:
        if row["base"] == "usual":
            found = of_student[row["model"]]["difference"][row["group"]][f"pass@{row['k']}"]
            assert {key: float(row[key]) for key in ("mean", "low", "high")} == {
                key: found[key] for key in ("mean", "low", "high")
            }
            assert row["base_stage"] == benchmark["base"]
        assert int(row["num_problems"]) == {"all": 30}.get(row["group"], 10)
    best = {point["stage"]: point["pass_at_k"]["all"]["pass@1"]["mean"] for point in benchmark["points"]}
    alike = [value for stage, value in best.items() if "base-" in stage and stage.endswith("p0.8")]
    for row in rows:
        if (row["base"], row["k"], row["group"]) == ("temperature", "1", "all"):
            assert float(row["mean"]) == pytest.approx(best[row["student_stage"]] - max(alike), abs=1e-12)


def test_a_verdict_that_changes_changes_words_and_figures(
    report: dict[str, Any], run_dir: Path, tmp_path: Path
) -> None:
    def one_more(plan: PointPlan) -> list[int]:
        counts = few_problems(plan)
        if (plan.model, plan.decoding.temperature) == ("student", 1.6):
            counts[next(index for index, count in enumerate(counts) if count < 10)] += 1
        return counts

    changed = concluded(demo(), tmp_path, one_more)
    words = [each["benchmarks"]["microworld"]["verdict"] for each in (report, changed)]
    different = [after for before, after in zip(*words, strict=True) if before != after]
    assert different
    assert all("+SSD" in sentence and "soft" not in sentence for sentence in different)
    for name in NAMES:
        before, after = rows_of(run_dir / "figures", name), rows_of(tmp_path / "figures", name)
        assert {row["model"] for old, row in zip(before, after, strict=True) if old != row} == {"student"}


def test_they_are_drawn_anew_to_the_same_bytes_and_no_part_of_the_run(
    report: dict[str, Any], run_dir: Path, tmp_path: Path
) -> None:
    folder = run_dir / "figures"
    names = sorted(f"{name}.{kind}" for name in NAMES for kind in ("csv", "png", "svg"))
    assert sorted(path.name for path in folder.iterdir()) == names
    assert sorted(report["figures"]) == [str(folder / name) for name in names]
    (tmp_path / "gains-another.png").write_bytes(b"of an earlier call")
    (tmp_path / "mine.png").write_bytes(b"somebody's")
    figures.draw(report, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "mine.png"])
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
    verified = verify_run(run_dir)
    assert len(verified) == 24
    assert not [each for each in verified if each.damage or "figures" in each.folder]


@pytest.mark.parametrize("name", NAMES)
def test_pngs_have_ink_and_a_margin(report: dict[str, Any], run_dir: Path, name: str) -> None:
    pixels = imread(run_dir / "figures" / f"{name}.png")[..., :3]
    assert pixels.shape[1] >= 150 * 8
    assert pixels.std() > 0.05
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert edge.min() == 1.0


@pytest.mark.parametrize("pass_k", ["[1]", "[1, 2, 5, 10]"])
def test_no_text_overlaps_and_single_points_have_whiskers(
    pass_k: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = demo("evaluate.student_temperatures=[]", "evaluate.base_grid=none", f"evaluate.pass_k={pass_k}")
    drawn: dict[str, Figure] = {}

    def keep(figure: Figure, folder: Path, name: str) -> list[Path]:
        drawn[name] = figure
        return []

    monkeypatch.setattr(figure_style, "save", keep)
    concluded(recipe, tmp_path, few_problems)
    assert sorted(drawn) == sorted(NAMES)
    for axes in drawn["temperatures-microworld"].axes:
        assert len(axes.collections) == 1 + 2  # the base's band, and an upright whisker for each student
        own = [line for line in axes.lines if line.get_marker() == "D" and len(line.get_xdata())]
        assert sorted(line.get_xdata()[0] for line in own) == [0.7, 1.6, 1.6]
    with figure_style.house_style():
        for name, figure in drawn.items():
            check_layout(figure, name)


@pytest.mark.parametrize("kind", ["png", "svg", "csv"])
def test_a_full_disk_is_named_with_the_figure(kind: str, tmp_path: Path) -> None:
    """The kernel's own full device stands where the file would."""
    (tmp_path / f"figure.{kind}").symlink_to("/dev/full")
    figure = figure_style.new_figure(2, 2)
    with pytest.raises(StorageError, match=rf"figure\.{kind}: cannot be written: no space is left on the device"):
        if kind == "csv":
            write_csv(tmp_path, "figure", [{"x": 1}])
        else:
            figure_style.save(figure, tmp_path, "figure")


def test_the_table_is_there_where_the_disk_is_too_full_for_figures(
    run_dir: Path, report: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_text(run_dir / "recipe.toml", recipes.to_toml(demo()))
    monkeypatch.setattr(Figure, "savefig", full)
    monkeypatch.setattr(running, "run_evaluation", lambda *_, **__: None)  # every point is there already
    asked = ["evaluate", str(run_dir / "recipe.toml"), "--run-dir", str(run_dir)]
    monkeypatch.setattr(sys, "argv", ["forklock", *asked])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == 1
    pass_at_1 = report["benchmarks"]["microworld"]["points"][0]["pass_at_k"]["all"]["pass@1"]["mean"]
    assert "microworld, pass@1" in said.out
    assert f"{100 * pass_at_1:.1f}" in said.out
    assert "cannot be written: no space is left on the device" in said.err
