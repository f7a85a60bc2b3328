"""Commands given from outside the cluster, through Ray's client."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_cases import by_key, recipe_for
from raylets import Raylets

from forklock import recipes, running
from forklock.run_dir import write_text

pytestmark = pytest.mark.slow
TinyModel = Callable[[str], Path]


@pytest.fixture
def folder(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """A shared one: with a recipe, and what it gives in one process, `alone`."""
    recipe = recipe_for(tmp_path, shutil.copytree(tiny_model("qwen3"), tmp_path / "model"))
    write_text(tmp_path / "recipe.toml", recipes.to_toml(recipe))
    running.run_until(recipe, tmp_path / "alone", "synthesize")
    return tmp_path


def start(address: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    """As soon as the other end is gone, nothing is done there any more: not after half a minute."""
    command = [sys.executable, "-m", "forklock", "synthesize", "recipe.toml", "--run-dir", "run"]
    return subprocess.Popen(
        [*command, "--cluster", address, *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "80", "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "1"},
    )


def take(address: str, folder: Path, *options: str) -> tuple[int, str, str]:
    with start(address, folder, *options) as command:
        said, complained = command.communicate()
    return command.returncode, said, complained


def assert_as_alone(folder: Path) -> None:
    alone, there = by_key(folder / "alone"), by_key(folder / "run")
    assert {key: sample.token_ids for key, sample in alone.items()} == {
        key: sample.token_ids for key, sample in there.items()
    }


def test_a_command_from_outside_gives_the_same_rows_and_says_the_same(cluster: Raylets, folder: Path) -> None:
    exit_code, said, complained = take(cluster.client_address, folder, "--json")
    assert exit_code == 0, complained
    assert json.loads(said)["run_dir"] == "run"
    assert_as_alone(folder)
    again, said, complained = take(cluster.client_address, folder)
    assert again == 0, complained
    assert "Samples: run/synthesize" in said
    assert max(len(line) for line in said.splitlines()) <= 80


def test_an_error_there_is_an_error_here(cluster: Raylets, folder: Path) -> None:
    shutil.rmtree(folder / "model")
    exit_code, said, _ = take(cluster.client_address, folder, "--json")
    assert exit_code == 1
    assert "there is no such folder" in json.loads(said)["error"]


def test_a_folder_that_is_not_there_is_said(ray: None) -> None:
    from forklock.cluster.client import Errand

    assert re.match("there is no /nonesuch on the machine", str(Errand().begin([], "/nonesuch", 80)))


def test_nothing_answers(ray: None, folder: Path) -> None:
    exit_code, said, _ = take("ray://127.0.0.1:1", folder, "--json")
    assert exit_code == 1
    assert "nothing answers there" in json.loads(said)["error"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_ended_here_it_ends_there_and_the_same_command_goes_on(
    ending: signal.Signals, cluster: Raylets, folder: Path
) -> None:
    with start(cluster.client_address, folder) as command:
        while not has_begun_sampling(folder / "run"):
            with pytest.raises(subprocess.TimeoutExpired):
                command.wait(0.1)
        command.send_signal(ending)
        said = command.communicate()[1]
    if ending == signal.SIGKILL:
        with (folder / "run" / "run.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits for whoever holds the folder
    else:
        assert command.returncode == 130, said
        [words] = [line for line in said.splitlines() if "To go on:" in line]
        assert words.endswith(f"forklock synthesize recipe.toml --run-dir run --cluster {cluster.client_address}")
    assert len(by_key(folder / "run")) < len(by_key(folder / "alone"))
    exit_code, _, complained = take(cluster.client_address, folder)
    assert exit_code == 0, complained
    assert_as_alone(folder)


def has_begun_sampling(run_dir: Path) -> bool:
    events = run_dir / "events.jsonl"
    return events.exists() and '"stage":"synthesize"' in events.read_text().replace(" ", "")
