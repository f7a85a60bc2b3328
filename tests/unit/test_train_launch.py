"""Who speaks, where several processes were started."""

from __future__ import annotations

from pathlib import Path

import pytest
from train_cases import make_recipe

from forklock.errors import ForklockError
from forklock.train import TrainingError, launch


def test_the_first_to_fail_says_why_and_no_other(tmp_path: Path) -> None:
    with pytest.raises(launch.FollowerError, match="no space"), launch.errors_said_once(tmp_path):
        raise TrainingError("no space")
    for later in (TrainingError("no space"), RuntimeError("connection closed by peer")):
        with pytest.raises(SystemExit) as stop, launch.errors_said_once(tmp_path):
            raise later
        assert stop.value.code == 1


def test_a_fault_that_nobody_explained_is_shown_whole(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of luck"), launch.errors_said_once(tmp_path):
        raise RuntimeError("out of luck")


@pytest.mark.parametrize(
    ("ranks", "error", "speaks"),
    [
        (None, ForklockError("any"), True),
        (("0", "0"), ForklockError("any"), True),
        (("1", "1"), ForklockError("any"), False),
        (("8", "0"), ForklockError("any"), True),  # the first of the second machine, before anyone has met
        (("1", "1"), launch.FollowerError("met first"), True),
        (("8", "0"), None, False),  # interrupted: rank 0 says so
    ],
)
def test_who_shows_an_error(
    ranks: tuple[str, str] | None, error: ForklockError | None, speaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ranks is not None:
        for name, value in zip(("RANK", "LOCAL_RANK", "WORLD_SIZE"), (*ranks, "16"), strict=True):
            monkeypatch.setenv(name, value)
    assert launch.is_spokesman(error) == speaks


def test_a_plan_for_other_machines_differs_in_its_paths_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    passed = frozenset({("a", 0)})
    done = frozenset({"model"})
    plan = launch.Plan(make_recipe(), "train", Path("run/synthesize"), Path("run/train/scratch"), done, passed)
    scratch = tmp_path / "run/train/scratch"
    assert plan.for_other_machines() == launch.Plan(
        make_recipe(), "train", tmp_path / "run/synthesize", scratch, done, passed
    )


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("train", "test"),
        ("train-round2", "test-round2"),
        ("students/train-soft", "test-soft"),
        ("students/train-soft-round2", "test-soft-round2"),
    ],
)
def test_every_student_is_tracked_by_a_name_of_its_own_in_one_place(stage: str, name: str) -> None:
    plan = launch.Plan(make_recipe(), stage, Path("run/synthesize"), Path("run") / stage / "scratch", frozenset())
    assert (plan.run_dir, plan.tracked_as) == (Path("run"), name)
