"""Which stages run, which are skipped, what is set aside, and what a body may do in its folder."""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from forklock.run_dir import (
    CorruptError,
    Event,
    NewerSchemaError,
    NotARunFolderError,
    SourceError,
    Stage,
    StageDir,
    StageError,
    open_run,
    read_events,
    read_manifest,
    read_provenance,
    read_status,
    reopen_stage,
    repair_run,
    run_stages,
    verify_run,
)
from forklock.run_dir.atomic import TEMPORARY_PREFIX

Body = Callable[[StageDir], None]


class Pipeline:
    """prompts -> make -> blend -> count, with a count of what was computed."""

    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.prompts = folder / "prompts.txt"
        self.prompts.write_text("one two three")
        self.computed: list[str] = []
        self.salt = ""
        self.events: list[Event] = []

    def make(self, stage_dir: StageDir) -> None:
        for word in stage_dir.input("prompts").read_text().split():
            if not stage_dir.is_done(word):
                self.computed.append(f"make {word}")
                stage_dir.write_text(word, word * 20 + self.salt)

    def blend(self, stage_dir: StageDir) -> None:
        self.computed.append("blend")
        words = sorted(path.read_text() for path in stage_dir.upstream("make").glob("[a-z]*e"))
        with stage_dir.new_folder("table") as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / "words.txt").write_text(" ".join(words))

    def count(self, stage_dir: StageDir) -> None:
        self.computed.append("count")
        text = (stage_dir.upstream("blend") / "table" / "inner" / "words.txt").read_text()
        stage_dir.write_text("count.txt", str(len(text)))

    def stages(self, blend: Mapping[str, object] | None = None, make_version: int = 1) -> list[Stage]:
        return [
            Stage(name="make", body=self.make, inputs={"prompts": self.prompts}, version=make_version),
            Stage(name="blend", body=self.blend, config=blend or {"temperature": 1.6}, reads={"make": "make"}),
            Stage(name="count", body=self.count, reads={"blend": "blend"}),
        ]

    def run(self, stages: list[Stage] | None = None) -> dict[str, str]:
        self.computed.clear()
        self.events.clear()
        with open_run(self.run_dir, self.events.append) as run:
            results = run_stages(run, self.stages() if stages is None else stages)
        return {result.stage: result.action for result in results}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def run_body(run_dir: Path, body: Body) -> None:
    with open_run(run_dir) as run:
        run_stages(run, [Stage(name="make", body=body)])


ALL_RAN = {"make": "ran", "blend": "ran", "count": "ran"}
ALL_SKIPPED = {"make": "skipped", "blend": "skipped", "count": "skipped"}


def test_complete_stages_are_skipped(pipeline: Pipeline) -> None:
    assert pipeline.run() == ALL_RAN
    assert pipeline.computed == ["make one", "make two", "make three", "blend", "count"]
    assert pipeline.run() == ALL_SKIPPED
    assert pipeline.computed == []
    assert [event.event for event in pipeline.events] == ["stage_skipped"] * 3


def test_a_complete_stage_holds_its_outputs_and_two_records(pipeline: Pipeline) -> None:
    pipeline.run()
    names = {path.name for path in (pipeline.run_dir / "make").iterdir()}
    assert names == {"one", "two", "three", "manifest.json", "provenance.json"}
    record = json.loads((pipeline.run_dir / "blend" / "manifest.json").read_text())
    assert list(record["outputs"]["table"]["files"]) == ["inner/words.txt"]
    assert record["upstream"] == {"make": read_manifest(pipeline.run_dir / "make" / "manifest.json").digest}


def test_a_change_in_the_middle_runs_that_and_what_follows(pipeline: Pipeline) -> None:
    pipeline.run()
    old = (pipeline.run_dir / "blend" / "manifest.json").read_bytes()
    changed = pipeline.stages(blend={"temperature": 1.2})
    assert pipeline.run(changed) == {"make": "skipped", "blend": "ran", "count": "ran"}
    (aside,) = pipeline.run_dir.glob("blend.stale-*")
    assert (aside / "manifest.json").read_bytes() == old
    told = next(event for event in pipeline.events if event.event == "stage_set_aside")
    assert (told.stage, told.details) == ("blend", {"to": aside.name, "reasons": ["temperature: 1.6 -> 1.2"]})
    assert pipeline.run(changed) == ALL_SKIPPED


def test_work_set_aside_comes_back_when_it_is_asked_for_again(pipeline: Pipeline) -> None:
    pipeline.run()
    before = {path: path.read_bytes() for path in pipeline.run_dir.glob("*/[!.]*") if path.is_file()}
    pipeline.run(pipeline.stages(blend={"temperature": 1.2}))
    assert pipeline.run() == ALL_SKIPPED
    assert {path: path.read_bytes() for path in before} == before
    assert [event.stage for event in pipeline.events if event.event == "stage_taken_back"] == ["blend", "count"]


def test_partial_work_set_aside_comes_back_too(pipeline: Pipeline) -> None:
    pipeline.run()

    def fail_after_one(stage_dir: StageDir) -> None:
        stage_dir.write_text("one", "one" * 20)
        raise RuntimeError("no more")

    pipeline.prompts.write_text("one four")
    with pytest.raises(RuntimeError, match="no more"):
        pipeline.run([Stage(name="make", body=fail_after_one, inputs={"prompts": pipeline.prompts})])
    pipeline.prompts.write_text("one two three")
    assert pipeline.run() == ALL_SKIPPED
    pipeline.prompts.write_text("one four")
    assert pipeline.run()["make"] == "ran"
    assert pipeline.computed[0] == "make four"


def test_names_for_work_set_aside_do_not_collide(pipeline: Pipeline) -> None:
    pipeline.run()
    fingerprint = read_manifest(pipeline.run_dir / "blend" / "manifest.json").fingerprint
    (pipeline.run_dir / f"blend.stale-{fingerprint[:8]}").mkdir()
    pipeline.run(pipeline.stages(blend={"temperature": 1.2}))
    names = sorted(path.name for path in pipeline.run_dir.glob("blend.stale-*"))
    assert names == [f"blend.stale-{fingerprint[:8]}", f"blend.stale-{fingerprint[:8]}-2"]


def test_a_changed_input_and_a_new_version_run_everything(pipeline: Pipeline) -> None:
    pipeline.run()
    pipeline.prompts.write_text("one two three five")
    assert pipeline.run() == ALL_RAN
    assert pipeline.run(pipeline.stages(make_version=2)) == ALL_RAN


def test_an_input_moved_or_touched_changes_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.run()
    pipeline.prompts = pipeline.prompts.rename(tmp_path / "moved.txt")
    os.utime(pipeline.prompts, ns=(1, 1))
    pipeline.run_dir = pipeline.run_dir.rename(tmp_path / "moved")
    assert pipeline.run() == ALL_SKIPPED


def test_a_stage_made_again_with_other_bytes_makes_its_readers_stale(pipeline: Pipeline) -> None:
    pipeline.run()
    for path in (pipeline.run_dir / "make").iterdir():
        path.unlink()
    (pipeline.run_dir / "make").rmdir()
    pipeline.salt = "!"  # sampling on a GPU need not give the same bytes twice
    assert pipeline.run() == ALL_RAN


def test_one_stage_alone_takes_its_upstream_as_it_stands(pipeline: Pipeline) -> None:
    count = pipeline.stages()[2]
    with pytest.raises(SourceError, match=r"stage count: reads blend, which is not there .*run blend first"):
        pipeline.run([count])
    pipeline.run()
    assert pipeline.run([count]) == {"count": "skipped"}


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


def test_a_failed_stage_goes_on_where_it_was_and_says_so(pipeline: Pipeline) -> None:
    def fail(stage_dir: StageDir) -> None:
        stage_dir.write_text("one", "first")
        raise RuntimeError("no more")

    def go_on(stage_dir: StageDir) -> None:
        assert stage_dir.is_done("one")
        assert not stage_dir.is_done("two")
        stage_dir.note("went_on", num_left=1)
        stage_dir.write_text("two", "second")

    with pytest.raises(RuntimeError, match="no more"):
        run_body(pipeline.run_dir, fail)
    run_body(pipeline.run_dir, go_on)
    events = [(event.event, event.details) for event in read_events(pipeline.run_dir)]
    assert [name for name, _ in events] == [
        "stage_started",
        "stage_failed",
        "stage_started",
        "went_on",
        "stage_finished",
    ]
    assert events[1][1] == {"error": "RuntimeError: no more"}
    assert events[2][1]["num_done"] == 1
    attempts = read_provenance(pipeline.run_dir / "make").attempts
    assert [attempt.finished is None for attempt in attempts] == [True, False]
    assert attempts[0].machine.packages["pydantic"]


def test_what_killed_writers_left_is_gone_before_the_body_starts(pipeline: Pipeline) -> None:
    left = f"{TEMPORARY_PREFIX}0a1b2c3d-shard"

    def leave(stage_dir: StageDir) -> None:
        (stage_dir.path / left).mkdir()
        (stage_dir.path / left / "part").write_text("x")
        (stage_dir.path / ".forklock-notes").write_text("someone's own")
        (pipeline.run_dir / left).write_text("x")
        stage_dir.write_text("one", "first")
        raise KeyboardInterrupt

    def look(stage_dir: StageDir) -> None:
        assert not list(pipeline.run_dir.rglob(f"{TEMPORARY_PREFIX}*"))
        assert (stage_dir.path / ".forklock-notes").exists()

    with pytest.raises(KeyboardInterrupt):
        run_body(pipeline.run_dir, leave)
    run_body(pipeline.run_dir, look)
    started = [event for event in read_events(pipeline.run_dir) if event.event == "stage_started"]
    assert [event.details["removed"] for event in started] == [[], [left]]


def test_a_failure_before_the_first_output_leaves_no_clutter(pipeline: Pipeline) -> None:
    def fail(stage_dir: StageDir) -> None:
        raise RuntimeError("a typo in the configuration")

    for value in (1, 2):
        with pytest.raises(RuntimeError), open_run(pipeline.run_dir) as run:
            run_stages(run, [Stage(name="make", body=fail, config={"value": value})])
    assert not list(pipeline.run_dir.glob("*.stale-*"))


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


def test_a_missing_input_is_named(pipeline: Pipeline) -> None:
    pipeline.prompts.unlink()
    with pytest.raises(SourceError, match=f"stage make: input prompts: {pipeline.prompts} does not exist"):
        pipeline.run()


@pytest.mark.parametrize("after", ["other words", None])
def test_an_input_that_changes_while_the_stage_runs_spoils_it(pipeline: Pipeline, after: str | None) -> None:
    def body(stage_dir: StageDir) -> None:
        pipeline.prompts.unlink()
        if after is not None:
            pipeline.prompts.write_text(after)

    stage = Stage(name="make", body=body, inputs={"prompts": pipeline.prompts})
    with pytest.raises(SourceError, match=r"input prompts: .* changed while the stage ran"):
        pipeline.run([stage])
    assert not (pipeline.run_dir / "make" / "manifest.json").exists()


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


def test_stages_described_wrongly(pipeline: Pipeline) -> None:
    make, blend, _ = pipeline.stages()
    with pytest.raises(StageError, match="stage blend: reads make, which does not come before it"):
        pipeline.run([blend, make])
    with pytest.raises(StageError, match="stage make: is given twice"):
        pipeline.run([make, make])
    with pytest.raises(StageError, match="the name must match"):
        Stage(name="make.stale-1", body=pipeline.make)
    for name in ("evaluate/base.stale-1", "evaluate/", "evaluate/a/b", "../evaluate", "evaluate/.."):
        with pytest.raises(StageError, match="the name must match"):
            Stage(name=name, body=pipeline.make)
    with pytest.raises(StageError, match="make is a stage itself"):
        pipeline.run([make, Stage(name="make/more", body=pipeline.make)])


def test_stages_of_one_family_stand_in_a_folder_together(tmp_path: Path) -> None:
    """They are set aside, taken back, looked at and verified there, each by itself."""

    def point(name: str, temperature: float) -> Stage:
        def body(stage_dir: StageDir) -> None:
            stage_dir.note("scored", value=temperature)
            stage_dir.write_text("score", f"{name} {temperature}")

        return Stage(name=name, body=body, config={"temperature": temperature})

    names = ("evaluate/base-t0.7-p0.8", "evaluate/base-t0.7-p0.85", "evaluate/base-t0")
    run_dir = tmp_path / "run"

    def run(*temperatures: float) -> list[str]:
        stages = [point(name, temperature) for name, temperature in zip(names, temperatures, strict=True)]
        with open_run(run_dir) as opened:
            return [result.action for result in run_stages(opened, stages)]

    assert run(1, 2, 3) == ["ran"] * 3
    assert run(1, 5, 3) == ["skipped", "ran", "skipped"]
    folders = sorted(path.name for path in (run_dir / "evaluate").iterdir())
    [aside] = [name for name in folders if ".stale-" in name]
    assert aside.startswith("base-t0.7-p0.85.stale-")
    status = read_status(run_dir, [point(name, number) for name, number in zip(names, (1, 2, 3), strict=True)])
    assert [(stage.stage, stage.state) for stage in status.stages] == [
        (names[0], "done"),
        (names[1], "stale"),
        (names[2], "done"),
    ]
    assert status.stages[1].set_aside == (aside,)
    assert {event.stage for event in read_events(run_dir) if event.event == "scored"} == set(names)
    (run_dir / names[0] / "score").write_text("x")
    assert {result.folder for result in verify_run(run_dir)} == {*names, f"evaluate/{aside}"}
    assert [result.folder for result in verify_run(run_dir) if result.damage] == [names[0]]
    (run_dir / names[0] / "score").write_text(f"{names[0]} 1")
    assert run(1, 2, 3) == ["skipped"] * 3
    assert (run_dir / names[1] / "score").read_text() == f"{names[1]} 2"


def test_threads_may_write_outputs_at_the_same_time(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def body(stage_dir: StageDir) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: stage_dir.write_text(f"shard-{n:03}", str(n) * 50), range(100)))

    run_body(tmp_path / "run", body)
    (found,) = verify_run(tmp_path / "run")
    assert (found.num_outputs, found.damage) == (100, ())
