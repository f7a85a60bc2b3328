"""How far a run is, read off its folder without changing it or keeping anyone from working in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from forklock.run_dir.content import Content, Output, find_damage
from forklock.run_dir.errors import CorruptError, SourceError
from forklock.run_dir.inputs import InputHashes
from forklock.run_dir.lock import LockHolder, find_holder
from forklock.run_dir.manifest import JOURNAL_NAME, MANIFEST_NAME, Work, read_work
from forklock.run_dir.opening import check_run_folder
from forklock.run_dir.pipeline import check_order, make_plan
from forklock.run_dir.plan import StagePlan, differences
from forklock.run_dir.set_aside import find_set_aside, list_set_aside
from forklock.run_dir.stage import Stage

State = Literal["done", "running", "partial", "stale", "not started", "corrupt"]


class StageStatus(BaseModel):
    """One stage, held against the description given."""

    model_config = ConfigDict(frozen=True)

    stage: str
    state: State
    reasons: tuple[str, ...] = ()
    num_outputs: int = 0
    num_bytes: int = 0
    fingerprint: str | None = None
    set_aside: tuple[str, ...] = ()


class RunStatus(BaseModel):
    """A run, stage by stage."""

    model_config = ConfigDict(frozen=True)

    run_dir: str
    holder: LockHolder | None
    stages: tuple[StageStatus, ...]


class Verification(BaseModel):
    """What a full look at one stage's outputs found."""

    model_config = ConfigDict(frozen=True)

    folder: str
    complete: bool
    num_outputs: int
    damage: tuple[str, ...]


@dataclass
class _View:
    """What the stages before the one that is looked at have shown."""

    run_dir: Path
    hashes: InputHashes
    digests: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


def read_status(run_dir: Path, stages: Sequence[Stage]) -> RunStatus:
    """Each stage's state. Outputs are checked by size; `verify_run` hashes them.

    Of a run at work this is a snapshot of a moving thing: each stage is true as of when it was read.
    """
    check_run_folder(run_dir)
    check_order(stages)
    holder = find_holder(run_dir)
    view = _View(run_dir, InputHashes(run_dir))
    statuses = []
    for stage in stages:
        status = _look(view, stage)
        if holder and stage.name in holder.stages and status.state in ("partial", "stale", "not started"):
            status = status.model_copy(update={"state": "running"})
        view.states[stage.name] = status.state
        statuses.append(status)
    return RunStatus(run_dir=str(run_dir), holder=holder, stages=tuple(statuses))


def verify_run(run_dir: Path) -> tuple[Verification, ...]:
    """Hash every output of every stage, the set-aside ones too, and say what differs from its record."""
    check_run_folder(run_dir)
    results = []
    for folder in _stage_folders(run_dir):
        try:
            if (work := read_work(folder)) is None:
                continue
            damage = find_damage(folder, present_outputs(folder, work), "full")
            complete, num_outputs = work.complete is not None, len(work.outputs)
        except CorruptError as error:
            damage, complete, num_outputs = [str(error)], False, 0
        results.append(
            Verification(
                folder=folder.relative_to(run_dir).as_posix(),
                complete=complete,
                num_outputs=num_outputs,
                damage=tuple(damage),
            )
        )
    return tuple(results)


def _stage_folders(run_dir: Path) -> list[Path]:
    """Folders that may hold a stage's work: those in the run, and those in a folder without work of its own."""
    found = []
    for path in sorted(path for path in run_dir.iterdir() if path.is_dir()):
        is_family = not (path / MANIFEST_NAME).exists() and not (path / JOURNAL_NAME).exists()
        found += [path, *sorted(inner for inner in path.iterdir() if is_family and inner.is_dir())]
    return found


def _look(view: _View, stage: Stage) -> StageStatus:
    folder = view.run_dir / stage.name
    aside = tuple(path.name for path in list_set_aside(folder))
    try:
        work = read_work(folder)
        plan, reasons = _expect(view, stage, work)
    except CorruptError as error:
        return StageStatus(stage=stage.name, state="corrupt", reasons=(str(error),), set_aside=aside)
    fingerprint = None if plan is None else plan.fingerprint
    if work is None or reasons:
        if fingerprint and (kept := find_set_aside(folder, fingerprint)):
            reasons.append(f"{kept.name} holds just this work and will be taken back")
        state: State = "not started" if work is None else "stale"
    elif findings := find_damage(folder, present_outputs(folder, work), "size"):
        state, reasons = "corrupt", findings
    else:
        state = "done" if work.complete else "partial"
    if state == "done" and work is not None and work.complete is not None:
        view.digests[stage.name] = work.complete.digest
    present = {} if work is None else present_outputs(folder, work)
    return StageStatus(
        stage=stage.name,
        state=state,
        reasons=tuple(reasons),
        num_outputs=len(present),
        num_bytes=sum(_num_bytes(output) for output in present.values()),
        fingerprint=fingerprint,
        set_aside=aside,
    )


def _expect(view: _View, stage: Stage, work: Work | None) -> tuple[StagePlan | None, list[str]]:
    """The plan that a run would follow now, where it can be known, and why `work` was not done under it."""
    reasons = []
    for name in stage.reads.values():
        if name not in view.states:
            other = read_work(view.run_dir / name)
            view.states[name] = "not started" if other is None else "done" if other.complete else "partial"
            if other is not None and other.complete is not None:
                view.digests[name] = other.complete.digest
        if name not in view.digests and work is not None:
            reasons.append(f"upstream {name} is {view.states[name]}")
    old_upstream = {} if work is None else work.plan.upstream
    upstream = {alias: view.digests.get(name, old_upstream.get(alias, "")) for alias, name in stage.reads.items()}
    try:
        plan = make_plan(stage, view.hashes, upstream)
    except SourceError as error:
        return None, [*reasons, str(error)]
    if work is not None:
        reasons += differences(work.plan, plan)
    return (plan if all(name in view.digests for name in stage.reads.values()) else None), reasons


def present_outputs(folder: Path, work: Work) -> dict[str, Output]:
    """What a check can expect: all outputs of a complete stage, those that have their name of one at work."""
    if work.complete is not None:
        return work.outputs
    return {name: output for name, output in work.outputs.items() if (folder / name).exists()}


def _num_bytes(output: Output) -> int:
    if isinstance(output, Content):
        return output.num_bytes
    return sum(content.num_bytes for content in output.files.values())
