"""A run folder's copy behind a URL: what a kill leaves there is a run folder that goes on.

In fsspec's memory, and in a bucket of a local server that speaks S3, where moto and s3fs are installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest

from forklock.cluster.errors import ClusterError
from forklock.cluster.mirror import Mirror, mirrored
from forklock.run_dir import Stage, StageDir, open_run, run_stages, verify_run

NAMES = [f"part-{number}.txt" for number in range(5)]


@dataclass(frozen=True)
class Store:
    url: str
    files: Any
    """The file system that the URL is of."""


@pytest.fixture(params=["memory", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "s3":
        yield request.getfixturevalue("bucket")
        return
    memory = fsspec.filesystem("memory")
    yield Store("memory://bucket/runs/one", memory)
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Reached as users reach theirs: by the environment that botocore reads."""
    reason = "needs a local S3 server: pip install 'moto[server]' s3fs"
    server = pytest.importorskip("moto.server", reason=reason).ThreadedMotoServer(port=0)
    s3fs = pytest.importorskip("s3fs", reason=reason)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    files.mkdir("bucket")
    yield Store("s3://bucket/runs/one", files)
    files.rm("bucket", recursive=True)
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


class KilledError(Exception):
    pass


def run(url: str, folder: Path, made: list[str], killed_after: int | None = None) -> None:
    mirror = Mirror(url, folder)

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

    with mirrored(url, folder), open_run(folder) as opened:
        run_stages(opened, [Stage(name="make", body=body)])


def test_another_machine_goes_on_from_the_copy(tmp_path: Path, store: Store) -> None:
    made: list[str] = []
    with pytest.raises(KilledError):
        run(store.url, tmp_path / "first", made, killed_after=2)
    kept = {path.rpartition("/runs/one/")[2] for path in store.files.find("bucket")}
    assert {"run.json", "make/journal.jsonl", "make/part-0.txt", "make/part-1.txt"} <= kept
    assert not any("scratch" in name or "lock" in name or "tmp" in name for name in kept)

    run(store.url, tmp_path / "second", made)
    assert made == NAMES  # nothing twice
    assert [look.damage for look in verify_run(tmp_path / "second")] == [()]

    Mirror(store.url, tmp_path / "third").fetch()
    here, there = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "second", tmp_path / "third")
    )
    here.pop("run.lock")
    assert here == there


class OutageError(Exception):
    """As a store's own errors are: boto's have no base but this."""


def refuse(*arguments: object, **settings: object) -> None:
    raise OutageError("out of reach")


def test_what_an_outage_kept_back_is_copied_later_and_said_at_the_end(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(store.files, "put_file", refuse)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "events.jsonl").touch()
        Mirror(store.url, tmp_path / "other").try_to_push()
        with pytest.raises(ClusterError, match=r"OutageError: out of reach. The run folder .* is whole"):
            run(store.url, tmp_path / "run", made)
    assert not store.files.exists("bucket/runs/one/run.json")
    run(store.url, tmp_path / "run", made)
    assert made == NAMES
    assert store.files.exists("bucket/runs/one/make/manifest.json")


def test_a_copy_that_cannot_be_fetched_is_no_run_folder_begun_anew(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    run(store.url, tmp_path / "first", made)
    monkeypatch.setattr(store.files, "get_file", refuse)
    with pytest.raises(ClusterError, match="cannot be read: OutageError: out of reach"):
        run(store.url, tmp_path / "second", made)
    assert not (tmp_path / "second" / "run.json").exists()
    assert made == NAMES


@pytest.mark.parametrize("is_begun", [False, True])
def test_other_things_behind_a_url_are_never_removed(is_begun: bool, tmp_path: Path, store: Store) -> None:
    files = {f"{store.url}/notes.txt": b"mine", f"{store.url}/two/run.json": b"{}"}
    for path, content in files.items():
        store.files.pipe(path, content)
    if is_begun:
        with open_run(tmp_path / "run"):
            pass
    said = "holds other things than a copy of a run"
    with (
        pytest.raises(ClusterError, match=said),
        mirrored(store.url, tmp_path / "run"),
        open_run(tmp_path / "run"),
    ):
        pass
    assert {path: store.files.cat(path) for path in files} == files
    assert len(store.files.find(store.url)) == len(files)


def test_a_url_that_nothing_can_open_is_refused(tmp_path: Path) -> None:
    said = r"cluster.storage = 'nonsense://x': "
    with pytest.raises(ClusterError, match=said), mirrored("nonsense://x", tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
