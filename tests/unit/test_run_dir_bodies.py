"""What the body of a stage may do in its folder, and what is recorded of it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from run_dir_cases import run_body

from forklock.run_dir import Stage, StageDir, StageError, read_events, read_manifest, verify_run


def test_warnings_stand_in_the_manifest_and_change_nothing_for_what_follows(tmp_path: Path) -> None:
    def make(stage_dir: StageDir) -> None:
        stage_dir.write_text("one", "first")

    def make_and_warn(stage_dir: StageDir) -> None:
        stage_dir.write_text("one", "first")
        stage_dir.warn("it is small")

    manifests = []
    for name, body in {"silent": make, "warned": make_and_warn}.items():
        run_body(tmp_path / name, body)
        manifests.append(read_manifest(tmp_path / name / "make" / "manifest.json"))
    assert [manifest.warnings for manifest in manifests] == [(), ("it is small",)]
    assert manifests[0].digest == manifests[1].digest
    events = read_events(tmp_path / "warned")
    assert [event.details for event in events if event.event == "warning"] == [{"text": "it is small"}]


def test_a_body_that_writes_past_its_stage_dir_is_told(tmp_path: Path) -> None:
    def body(stage_dir: StageDir) -> None:
        (stage_dir.path / "trainer.log").write_text("x")

    for _ in range(2):
        with pytest.raises(StageError, match=r"holds trainer.log, which the stage did not write .*scratch"):
            run_body(tmp_path / "run", body)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "manifest.json", "scratch", "two\nlines"])
def test_names_that_no_output_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(StageError, match="cannot name an output"):
        run_body(tmp_path / "run", lambda stage_dir: stage_dir.write_text(name, "x"))


def test_a_finished_output_is_not_overwritten(tmp_path: Path) -> None:
    def body(stage_dir: StageDir) -> None:
        stage_dir.write_text("one", "same")
        stage_dir.write_text("one", "same")
        with pytest.raises(StageError, match=r"one: is finished, and the body made it again with other content"):
            stage_dir.write_text("one", "other")
        assert (stage_dir.path / "one").read_text() == "same"
        assert [path.name for path in stage_dir.path.iterdir() if path.name.startswith(".")] == []

    run_body(tmp_path / "run", body)


def test_links_in_an_output_are_refused(tmp_path: Path) -> None:
    def body(stage_dir: StageDir) -> None:
        with pytest.raises(StageError, match="a symbolic link inside an output"):  # noqa: SIM117
            with stage_dir.new_folder("model") as folder:
                (folder / "weights").symlink_to(tmp_path)
        with pytest.raises(StageError, match="an output is a symbolic link"), stage_dir.new_file("a") as path:
            path.symlink_to(tmp_path / "elsewhere")

    (tmp_path / "elsewhere").write_text("x")
    run_body(tmp_path / "run", body)


def test_nothing_written_is_told(tmp_path: Path) -> None:
    def body(stage_dir: StageDir) -> None:
        with stage_dir.new_file("table.parquet"):
            pass

    with pytest.raises(StageError, match=r"table.parquet: nothing was written"):
        run_body(tmp_path / "run", body)


def test_scratch_survives_a_failure_and_goes_at_the_end(tmp_path: Path) -> None:
    def fail(stage_dir: StageDir) -> None:
        (stage_dir.scratch() / "checkpoint-100").mkdir()
        (stage_dir.scratch() / "checkpoint-100" / "weights").write_text("w")
        raise RuntimeError("killed")

    def go_on(stage_dir: StageDir) -> None:
        with pytest.raises(StageError, match="only what lies in"):
            stage_dir.adopt(tmp_path, "model")
        stage_dir.adopt(stage_dir.scratch() / "checkpoint-100", "model")
        (stage_dir.scratch() / "optimizer").write_text("o")

    with pytest.raises(RuntimeError, match="killed"):
        run_body(tmp_path / "run", fail)
    run_body(tmp_path / "run", go_on)
    assert not (tmp_path / "run" / "make" / "scratch").exists()
    assert (tmp_path / "run" / "make" / "model" / "weights").read_text() == "w"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"a": {"b": [1.0, float("nan")]}}, r"stage make: config.a.b\[1\]: nan has no JSON spelling"),
        ({"path": Path("x")}, r"stage make: config.path: PosixPath is not a JSON type"),
        ({"a": {1: 2}}, r"stage make: config.a: the key 1 is not a string"),
    ],
)
def test_configurations_that_json_cannot_hold(config: dict[str, object], message: str) -> None:
    with pytest.raises(StageError, match=message):
        Stage(name="make", body=lambda stage_dir: None, config=config)


def test_threads_may_write_outputs_at_the_same_time(tmp_path: Path) -> None:
    def body(stage_dir: StageDir) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: stage_dir.write_text(f"shard-{n:03}", str(n) * 50), range(100)))

    run_body(tmp_path / "run", body)
    (found,) = verify_run(tmp_path / "run")
    assert (found.num_outputs, found.damage) == (100, ())
