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
    plan = launch.Plan(make_recipe(), Path("run/synthesize"), Path("run/train/scratch"), frozenset({"model"}), passed)
    scratch = tmp_path / "run/train/scratch"
    assert plan.for_other_machines() == launch.Plan(
        make_recipe(), tmp_path / "run/synthesize", scratch, frozenset({"model"}), passed
    )
