"""Which stages run, which are skipped, and what is set aside and taken back."""

import json
import os
from pathlib import Path

import pytest
from run_dir_cases import ALL_RAN, ALL_SKIPPED, Pipeline, run_body

from forklock.run_dir import (
    SourceError,
    Stage,
    StageDir,
    StageError,
    open_run,
    read_events,
    read_manifest,
    read_provenance,
    read_status,
    run_stages,
    verify_run,
)
from forklock.run_dir.atomic import TEMPORARY_PREFIX


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


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
