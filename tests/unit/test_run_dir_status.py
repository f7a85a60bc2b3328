"""What a run's status says, stage by stage, and that looking changes nothing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forklock.run_dir import (
    Content,
    NewerSchemaError,
    RunStatus,
    Stage,
    StageDir,
    hash_file,
    open_run,
    read_status,
    run_stages,
)
from forklock.run_dir.inputs import CACHE_NAME, InputHashes


def pipeline(prompts: Path, **decoding: object) -> list[Stage]:
    def write(stage_dir: StageDir) -> None:
        stage_dir.write_text("out.txt", "content")

    config = {"decoding": {"temperature": 1.6, "top_k": 20, **decoding}, "stop": ["a", "b"]}
    return [
        Stage(name="synthesize", body=write, config=config, inputs={"prompts": prompts}),
        Stage(name="train", body=write, reads={"synthesize": "synthesize"}),
        Stage(name="evaluate", body=write, reads={"train": "train"}),
    ]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("prompts")
    return tmp_path / "prompts.txt"


@pytest.fixture
def run_dir(tmp_path: Path, prompts: Path) -> Path:
    with open_run(tmp_path / "run") as run:
        run_stages(run, pipeline(prompts))
    return tmp_path / "run"


def told(status: RunStatus) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {stage.stage: (stage.state, stage.reasons) for stage in status.stages}


def test_no_folder_yet(tmp_path: Path, prompts: Path) -> None:
    status = read_status(tmp_path / "run", pipeline(prompts))
    assert {stage.state for stage in status.stages} == {"not started"}
    assert not (tmp_path / "run").exists()


def test_done(run_dir: Path, prompts: Path) -> None:
    status = read_status(run_dir, pipeline(prompts))
    assert told(status) == dict.fromkeys(("synthesize", "train", "evaluate"), ("done", ()))
    assert [(stage.num_outputs, stage.num_bytes) for stage in status.stages] == [(1, 7)] * 3
    assert json.loads(json.dumps(status.model_dump()))["stages"][1]["stage"] == "train"


def test_looking_changes_nothing(run_dir: Path, prompts: Path) -> None:
    def snapshot() -> dict[Path, tuple[int, int, int]]:
        paths = [run_dir, *run_dir.rglob("*")]
        return {path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.stat().st_size) for path in paths}

    with (run_dir / "events.jsonl").open("ab") as file:
        file.write(b'{"torn')
    before = snapshot()
    read_status(run_dir, pipeline(prompts, temperature=1.2))
    assert snapshot() == before


def test_each_changed_key_is_a_reason_and_what_follows_is_stale(run_dir: Path, prompts: Path) -> None:
    prompts.write_text("other prompts")
    status = read_status(run_dir, pipeline(prompts, temperature=1.2, top_k=20.0, top_p=0.8))
    assert told(status) == {
        "synthesize": (
            "stale",
            (
                "decoding.temperature: 1.6 -> 1.2",
                "decoding.top_k: 20 -> 20.0",
                "decoding.top_p: (absent) -> 0.8",
                "input prompts changed",
            ),
        ),
        "train": ("stale", ("upstream synthesize is stale",)),
        "evaluate": ("stale", ("upstream train is stale",)),
    }


def test_reasons_other_than_keys(run_dir: Path, prompts: Path) -> None:
    first, train, _ = pipeline(prompts)
    other = Stage(name="train", body=train.body, version=3, inputs={"weights": prompts}, config={"stop": [1]})
    assert told(read_status(run_dir, [first, other]))["train"] == (
        "stale",
        (
            "stop: (absent) -> [1]",
            "stage version 1 -> 3",
            "input weights is new",
            "upstream synthesize is no longer read",
        ),
    )
    prompts.unlink()
    assert told(read_status(run_dir, [first]))["synthesize"] == (
        "stale",
        (f"stage synthesize: input prompts: {prompts} does not exist",),
    )


def test_a_stage_alone_is_held_against_its_upstream_on_disk(run_dir: Path, prompts: Path) -> None:
    assert told(read_status(run_dir, pipeline(prompts)[1:])) == {"train": ("done", ()), "evaluate": ("done", ())}


def test_set_aside_work_is_listed_and_what_would_come_back_is_said(run_dir: Path, prompts: Path) -> None:
    with open_run(run_dir) as run:
        run_stages(run, pipeline(prompts, temperature=1.2)[:1])
    status = read_status(run_dir, pipeline(prompts)).stages[0]
    (aside,) = status.set_aside
    assert status.reasons == (
        "decoding.temperature: 1.2 -> 1.6",
        f"{aside} holds just this work and will be taken back",
    )


def test_partial_running_and_not_started(tmp_path: Path, prompts: Path) -> None:
    seen: list[RunStatus] = []

    def fail(stage_dir: StageDir) -> None:
        stage_dir.write_text("first", "12345")
        seen.append(read_status(tmp_path / "run", stages))
        raise KeyboardInterrupt

    stages = [
        *pipeline(prompts)[:1],
        Stage(name="train", body=fail),
        Stage(name="evaluate", body=fail, reads={"train": "train"}),
    ]
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path / "run") as run:
        run_stages(run, stages)
    states = [[stage.state for stage in status.stages] for status in (seen[0], read_status(tmp_path / "run", stages))]
    assert states == [["done", "running", "not started"], ["done", "partial", "not started"]]
    assert (seen[0].stages[1].num_outputs, seen[0].stages[1].num_bytes) == (1, 5)
    assert seen[0].holder is not None
    assert (seen[0].holder.pid, seen[0].holder.stages) == (os.getpid(), ("train",))


def test_running_with_another_configuration_gives_the_reasons(tmp_path: Path, prompts: Path) -> None:
    seen: list[RunStatus] = []
    stage = Stage(
        name="train",
        body=lambda stage_dir: seen.append(read_status(tmp_path / "run", [other])),
        config={"rate": 1},
    )
    other = Stage(name="train", body=stage.body, config={"rate": 2})
    with open_run(tmp_path / "run") as run:
        run_stages(run, [stage])
    assert told(seen[0]) == {"train": ("running", ("rate: 1 -> 2",))}


def test_corrupt(run_dir: Path, prompts: Path) -> None:
    (run_dir / "synthesize" / "out.txt").write_text("cut")
    (run_dir / "train" / "manifest.json").write_text("{}")
    found = told(read_status(run_dir, pipeline(prompts)))
    assert found["synthesize"] == ("corrupt", (f"{run_dir}/synthesize/out.txt: has 3 bytes, expected 7",))
    assert found["train"][0] == "corrupt"
    assert f"{run_dir}/train/manifest.json: " in found["train"][1][0]
    assert found["evaluate"] == ("stale", ("upstream train is corrupt",))


def test_a_newer_run_folder_is_refused(run_dir: Path, prompts: Path) -> None:
    (run_dir / "run.json").write_text('{"schema_version": 9}')
    with pytest.raises(NewerSchemaError, match="schema_version is 9"):
        read_status(run_dir, pipeline(prompts))


def test_large_inputs_are_hashed_once_and_again_when_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    def count_and_hash(path: Path) -> Content:
        hashed.append(path.name)
        return hash_file(path)

    monkeypatch.setattr("forklock.run_dir.inputs.SMALL_FILE_BYTES", 100)
    monkeypatch.setattr("forklock.run_dir.inputs.hash_file", count_and_hash)
    weights = tmp_path / "weights"
    (weights / ".cache").mkdir(parents=True)
    (weights / ".cache" / "notes").write_text("hidden, not hashed")
    (weights / "a").write_text("small")
    (tmp_path / "blob").write_bytes(b"w" * 200)
    (weights / "b").symlink_to(tmp_path / "blob")

    def content() -> tuple[str, list[str]]:
        hashed.clear()
        memory = InputHashes(tmp_path)
        found = memory.content(weights)
        memory.save()
        return found.sha256, list(hashed)

    first, names = content()
    assert names == ["a", "b"]
    assert not (tmp_path / CACHE_NAME).exists()  # changed a moment ago: it may change again unseen
    later = time.time_ns() + 10**10
    monkeypatch.setattr("forklock.run_dir.inputs.time.time_ns", lambda: later)
    assert content() == (first, ["a", "b"])
    assert content() == (first, ["a"])
    with (tmp_path / "blob").open("r+b") as file:
        file.write(b"v")
    os.utime(tmp_path / "blob", ns=(1, 1))  # a copy that keeps times; the change time tells
    second, names = content()
    assert second != first
    assert names == ["a", "b"]
    (tmp_path / CACHE_NAME).write_text("not a cache")
    assert content() == (second, ["a", "b"])


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'pyarrow', 'rich'}"
    script = f"import sys, forklock.run_dir; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"
