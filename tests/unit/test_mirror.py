"""A run folder's copy behind a URL: what a kill leaves there is a run folder that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from forklock.cluster.errors import ClusterError
from forklock.cluster.mirror import Mirror, mirrored
from forklock.run_dir import Stage, StageDir, open_run, run_stages, verify_run

URL = "memory://bucket/runs/one"
NAMES = [f"part-{number}.txt" for number in range(5)]


@pytest.fixture(autouse=True)
def store() -> Iterator[fsspec.AbstractFileSystem]:
    memory = fsspec.filesystem("memory")
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


class KilledError(Exception):
    pass


def run(folder: Path, made: list[str], killed_after: int | None = None) -> None:
    mirror = Mirror(URL, folder)

    def body(stage_dir: StageDir) -> None:
        for name in NAMES:
            if stage_dir.is_done(name):
                continue
            stage_dir.scratch().joinpath("work").write_text("in progress")
            stage_dir.write_text(name, name)
            made.append(name)
            if len(made) == killed_after:
                mirror.push()  # as a minute later
                raise KilledError

    with mirrored(URL, folder), open_run(folder) as opened:
        run_stages(opened, [Stage(name="make", body=body)])


def test_another_machine_goes_on_from_the_copy(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    made: list[str] = []
    with pytest.raises(KilledError):
        run(tmp_path / "first", made, killed_after=2)
    kept = {path.rpartition("/runs/one/")[2] for path in store.find("/bucket")}
    assert {"run.json", "make/journal.jsonl", "make/part-0.txt", "make/part-1.txt"} <= kept
    assert not any("scratch" in name or "lock" in name or "tmp" in name for name in kept)

    run(tmp_path / "second", made)
    assert made == NAMES  # nothing twice
    assert [look.damage for look in verify_run(tmp_path / "second")] == [()]

    Mirror(URL, tmp_path / "third").fetch()
    here, there = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "second", tmp_path / "third")
    )
    here.pop("run.lock")
    assert here == there


def test_what_an_outage_kept_back_is_copied_later_and_said_at_the_end(
    tmp_path: Path, store: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise OSError("out of reach")

    made: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_file", refuse)
        with pytest.raises(ClusterError, match=r"out of reach. The run folder .* is whole"):
            run(tmp_path / "run", made)
    assert not store.exists("/bucket/runs/one/run.json")
    run(tmp_path / "run", made)
    assert made == NAMES
    assert store.exists("/bucket/runs/one/make/manifest.json")


def test_a_url_that_nothing_can_open_is_refused(tmp_path: Path) -> None:
    said = r"cluster.storage = 'nonsense://x': "
    with pytest.raises(ClusterError, match=said), mirrored("nonsense://x", tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
