"""Outputs and records that are damaged, and folders that are no run's: named, refused, repaired."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from run_dir_cases import ALL_SKIPPED, Pipeline

from forklock.run_dir import (
    CorruptError,
    NewerSchemaError,
    NotARunFolderError,
    StageError,
    open_run,
    read_manifest,
    reopen_stage,
    repair_run,
    verify_run,
)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [(flip, "has SHA-256 .*, expected "), (truncate, "has .* bytes, expected "), (delete, "missing, expected ")],
)
@pytest.mark.parametrize("name", ["make/two", "blend/table/inner/words.txt", "count/count.txt"])
def test_a_damaged_output_is_named_and_refused(
    pipeline: Pipeline, damage: Callable[[Path], None], finding: str, name: str
) -> None:
    pipeline.run()
    damage(pipeline.run_dir / name)
    after = [path.read_bytes() for path in sorted(pipeline.run_dir.glob("*/**/*")) if path.is_file()]
    with pytest.raises(CorruptError, match=rf"{pipeline.run_dir / name}: {finding}.*or run `forklock repair "):
        pipeline.run()
    assert after == [path.read_bytes() for path in sorted(pipeline.run_dir.glob("*/**/*")) if path.is_file()]
    (found,) = [found for found in verify_run(pipeline.run_dir) if found.damage]
    assert found.folder == name.split("/")[0]


def test_a_file_added_to_a_folder_output_is_named_and_refused(pipeline: Pipeline) -> None:
    pipeline.run()
    (pipeline.run_dir / "blend" / "table" / "extra.bin").write_bytes(b"x")
    with pytest.raises(CorruptError, match=r"table/extra.bin: not recorded, yet inside an output"):
        pipeline.run()


def test_damage_in_a_large_file_is_found_by_a_full_look_only(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run()
    flip(pipeline.run_dir / "make" / "two")
    monkeypatch.setattr("forklock.run_dir.content.SMALL_FILE_BYTES", 10)
    assert pipeline.run() == ALL_SKIPPED
    assert [found.folder for found in verify_run(pipeline.run_dir) if found.damage] == ["make"]


def test_a_reopened_stage_makes_only_what_was_deleted(pipeline: Pipeline) -> None:
    pipeline.run()
    before = (pipeline.run_dir / "make" / "manifest.json").read_bytes()
    (pipeline.run_dir / "make" / "two").unlink()
    with open_run(pipeline.run_dir) as run:
        reopen_stage(run, "make")
        with pytest.raises(StageError, match="is not complete"):
            reopen_stage(run, "make")
    assert pipeline.run() == {"make": "ran", "blend": "skipped", "count": "skipped"}
    assert pipeline.computed == ["make two"]
    assert (pipeline.run_dir / "make" / "manifest.json").read_bytes() == before


def test_a_damaged_output_of_partial_work_is_refused_until_deleted(pipeline: Pipeline) -> None:
    pipeline.run()
    with open_run(pipeline.run_dir) as run:
        reopen_stage(run, "make")
    flip(pipeline.run_dir / "make" / "two")
    with pytest.raises(CorruptError, match=r"make/two: has SHA-256 .*run `forklock repair .*/run`"):
        pipeline.run()
    (pipeline.run_dir / "make" / "two").unlink()
    pipeline.run()
    assert pipeline.computed == ["make two"]


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_repair_sets_aside_what_is_damaged_and_what_is_derived(pipeline: Pipeline, is_complete: bool) -> None:
    pipeline.run()
    before = (pipeline.run_dir / "make" / "manifest.json").read_bytes()
    stages = [dataclasses.replace(stage, derived=("one",)) for stage in pipeline.stages()]
    with open_run(pipeline.run_dir) as run:
        assert repair_run(run, stages) == ()
        if not is_complete:
            reopen_stage(run, "make")
    flip(pipeline.run_dir / "make" / "two")
    damaged = (pipeline.run_dir / "make" / "two").read_bytes()
    with open_run(pipeline.run_dir) as run:
        (repair,) = repair_run(run, stages)
        assert (repair.stage, repair.set_aside) == ("make", ("two", "one"))
        assert "make/two: has SHA-256" in repair.damage[0]
        assert repair_run(run, stages) == ()
    assert (pipeline.run_dir / "make" / ".damaged" / "two").read_bytes() == damaged
    pipeline.run()
    assert sorted(pipeline.computed) == ["make one", "make two"]
    assert (pipeline.run_dir / "make" / "manifest.json").read_bytes() == before


def test_every_changed_byte_of_a_manifest_is_noticed(pipeline: Pipeline) -> None:
    pipeline.run()
    path = pipeline.run_dir / "blend" / "manifest.json"
    whole = path.read_bytes()
    manifest = read_manifest(path)
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        with pytest.raises((CorruptError, NewerSchemaError), match=f"^{path}: "):
            read_manifest(path)
    path.write_bytes(whole[:-20])
    with pytest.raises(CorruptError, match=r"manifest.json: not JSON .*restore it from a copy, or delete"):
        pipeline.run()
    path.write_bytes(whole)
    assert read_manifest(path) == manifest


def test_a_damaged_journal_is_named(pipeline: Pipeline) -> None:
    pipeline.run()
    with open_run(pipeline.run_dir) as run:
        reopen_stage(run, "make")
    journal = pipeline.run_dir / "make" / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"num_bytes"', '"num_bites"'))
    with pytest.raises(CorruptError, match=r"journal.jsonl: line 1: .*restore it from a copy, or delete"):
        pipeline.run()


def test_a_newer_run_folder_is_refused_untouched(pipeline: Pipeline) -> None:
    pipeline.run()
    (pipeline.run_dir / "run.json").write_text('{"schema_version": 2}')
    (pipeline.run_dir / "run.lock").unlink()
    with pytest.raises(NewerSchemaError, match=r"run.json: schema_version is 2, this forklock reads up to 1; upgrade"):
        pipeline.run()
    assert not (pipeline.run_dir / "run.lock").exists()


def test_a_folder_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(NotARunFolderError, match=r"holds 'thesis.tex' but no run.json"):
        open_run(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(NotARunFolderError, match="is a file"):
        open_run(tmp_path / "thesis.tex").__enter__()
