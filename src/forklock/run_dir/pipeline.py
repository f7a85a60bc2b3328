"""Takes the stages of an open run through, in order."""

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forklock.run_dir.atomic import (
    remove,
    remove_temporaries,
    storage_errors,
    sync_file,
)
from forklock.run_dir.content import Content, find_damage
from forklock.run_dir.errors import CorruptError, SourceError, StageError, StorageError
from forklock.run_dir.inputs import InputHashes, stamps
from forklock.run_dir.manifest import (
    JOURNAL_NAME,
    MANIFEST_NAME,
    Manifest,
    Work,
    open_journal,
    read_work,
    reopen_journal,
    start_journal,
    write_manifest,
)
from forklock.run_dir.opening import Run
from forklock.run_dir.plan import StagePlan, checked_config, differences
from forklock.run_dir.provenance import AttemptRecord
from forklock.run_dir.set_aside import find_set_aside, is_worth_keeping, name_aside
from forklock.run_dir.stage import SCRATCH_NAME, Sources, Stage, StageDir, find_strangers


@dataclass(frozen=True)
class StageResult:
    """A stage that is complete now."""

    stage: str
    action: Literal["ran", "skipped"]
    path: Path
    manifest: Manifest


def run_stages(run: Run, stages: Sequence[Stage]) -> tuple[StageResult, ...]:
    """Bring each stage to completion, in the order given; one that is complete already is checked and skipped.

    A stage may read one that is not among `stages`: that one has to be complete, and is taken as it stands.
    """
    assert run.lock.is_held, "the run was closed, or this is a forked child of its holder"
    check_order(stages)
    for stage in stages:
        _check_inputs(stage)
    results: dict[str, StageResult] = {}
    hashes = InputHashes(run.path)
    for stage in stages:
        for name in stage.reads.values():
            if name not in results:
                results[name] = StageResult(name, "skipped", run.path / name, _require(run.path, stage, name))
        run.lock.describe(stage.name)
        digests = {alias: results[name].manifest.digest for alias, name in stage.reads.items()}
        before = {name: stamps(path) for name, path in stage.inputs.items()}
        plan = make_plan(stage, hashes, digests)
        hashes.save()
        results[stage.name] = _bring_to_completion(run, stage, plan, before)
    run.lock.describe()
    return tuple(results[stage.name] for stage in stages)


def reopen_stage(run: Run, name: str) -> None:
    """Take a complete stage's manifest back, so that outputs you deleted from it are made again, and only they."""
    assert run.lock.is_held
    folder = run.path / name
    work = read_work(folder)
    if work is None or work.complete is None:
        raise StageError(f"{folder}: is not complete, nothing is to be reopened; just run again")
    reopen_journal(folder, work.complete)
    with storage_errors(folder):
        remove(folder / MANIFEST_NAME)
        sync_file(folder)
    run.events.add("stage_reopened", name)


def check_order(stages: Sequence[Stage]) -> None:
    names = [stage.name for stage in stages]
    for index, stage in enumerate(stages):
        if stage.name in names[:index]:
            raise StageError(f"stage {stage.name}: is given twice")
        if (family := stage.name.partition("/")[0]) != stage.name and family in names:
            raise StageError(f"stage {stage.name}: {family} is a stage itself, so that its folder can't hold others")
        for name in stage.reads.values():
            if name in names[index:]:
                raise StageError(f"stage {stage.name}: reads {name}, which does not come before it")


def _check_inputs(stage: Stage) -> None:
    for name, path in stage.inputs.items():
        if not path.exists():
            raise SourceError(f"stage {stage.name}: input {name}: {path} does not exist")


def make_plan(stage: Stage, hashes: InputHashes, upstream: dict[str, str]) -> StagePlan:
    """What the stage's work depends on, as of now."""
    inputs = {}
    for name, path in stage.inputs.items():
        try:
            inputs[name] = hashes.content(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceError(f"stage {stage.name}: input {name}: {path} does not exist") from error
    return StagePlan(
        stage=stage.name,
        version=stage.version,
        config=checked_config(stage.name, stage.config),
        inputs=inputs,
        upstream=upstream,
    )


def refuse_damage(folder: Path, work: Work) -> None:
    """Raise CorruptError when outputs are not what was recorded; see `Depth` for how close the look is."""
    findings = find_damage(folder, work.outputs, "quick")
    if not findings:
        return
    shown = "; ".join(findings[:10]) + (f"; and {len(findings) - 10} more" if len(findings) > 10 else "")
    raise CorruptError(
        f"{shown}. Restore from a copy; or run `forklock repair {folder.parent}`, and the same command again makes "
        "just that anew"
    )


def _require(run_dir: Path, reader: Stage, name: str) -> Manifest:
    work = read_work(run_dir / name)
    if work is None or work.complete is None:
        found = "is not there" if work is None else "is not complete"
        raise SourceError(f"stage {reader.name}: reads {name}, which {found} ({run_dir / name}); run {name} first")
    refuse_damage(run_dir / name, work)
    return work.complete


def _bring_to_completion(run: Run, stage: Stage, plan: StagePlan, before: Mapping[str, object]) -> StageResult:
    folder = run.path / stage.name
    work = _settle(run, folder, plan)
    if work is not None and work.complete is not None:
        refuse_damage(folder, work)
        _clean_up(run, folder)
        run.events.add("stage_skipped", stage.name, fingerprint=plan.fingerprint)
        return StageResult(stage.name, "skipped", folder, work.complete)
    try:
        manifest = _work(run, stage, plan, work)
        for name, path in stage.inputs.items():
            if stamps(path) != before[name] and not _holds(run, path, plan.inputs[name]):
                raise SourceError(
                    f"stage {stage.name}: input {name}: {path} changed while the stage ran, so what it made "
                    f"cannot be trusted; delete {folder} and run again"
                )
        write_manifest(folder, manifest)
    except BaseException as error:
        with suppress(StorageError):  # a full disk is likely what is being reported
            run.events.add("stage_failed", stage.name, error=f"{type(error).__name__}: {error}"[:2000])
        raise
    _clean_up(run, folder)
    run.events.add("stage_finished", stage.name, digest=manifest.digest, num_outputs=len(manifest.outputs))
    return StageResult(stage.name, "ran", folder, manifest)


def _settle(run: Run, folder: Path, plan: StagePlan) -> Work | None:
    """Have in `folder` this plan's work, or nothing: set other work aside, take this plan's own back."""
    work = read_work(folder)
    if work is not None and work.plan.fingerprint != plan.fingerprint:
        if is_worth_keeping(folder, work):
            aside = name_aside(folder, work.plan.fingerprint)
            reasons = differences(work.plan, plan)
            run.events.add("stage_set_aside", plan.stage, to=aside.name, reasons=list(reasons))
            _move(folder, aside)
        else:
            with storage_errors(folder):
                remove(folder)
        work = None
    if work is None and (kept := find_set_aside(folder, plan.fingerprint)) is not None:
        if folder.exists():
            if strangers := find_strangers(folder, {}):
                raise _strangers_error(folder, strangers)
            with storage_errors(folder):
                remove(folder)
        run.events.add("stage_taken_back", plan.stage, source=kept.name)
        _move(kept, folder)
        work = read_work(folder)
    return work


def _work(run: Run, stage: Stage, plan: StagePlan, work: Work | None) -> Manifest:
    folder = run.path / stage.name
    with storage_errors(folder):
        for made in (folder,) if folder.parent == run.path else (folder.parent, folder):
            made.mkdir(exist_ok=True)
            sync_file(made.parent)
    removed = remove_temporaries(folder)
    outputs = {} if work is None else work.outputs
    if strangers := find_strangers(folder, outputs):
        raise _strangers_error(folder, strangers)
    if work is None:
        start_journal(folder, plan)
    present = {name: outputs[name] for name in outputs if (folder / name).exists()}
    refuse_damage(folder, Work(plan, present, None))
    attempt = AttemptRecord(folder, stage.inputs)
    run.events.add(
        "stage_started", stage.name, fingerprint=plan.fingerprint, num_done=len(present), removed=list(removed)
    )
    with closing(open_journal(folder)) as journal:
        sources = Sources(stage.name, stage.inputs, {alias: run.path / name for alias, name in stage.reads.items()})
        stage_dir = StageDir(folder, sources, journal, run.events, present)
        with storage_errors(folder):
            stage.body(stage_dir)
        outputs = dict(stage_dir.done)
    if strangers := find_strangers(folder, outputs):
        raise _strangers_error(folder, strangers)
    if findings := find_damage(folder, outputs, "size"):
        raise CorruptError(f"{findings[0]}: changed while the stage ran; delete it and run again")
    attempt.finish()
    return Manifest.of(plan, outputs, stage_dir.warnings)


def _holds(run: Run, path: Path, content: Content) -> bool:
    return path.exists() and InputHashes(run.path).content(path) == content


def _strangers_error(folder: Path, names: list[str]) -> StageError:
    return StageError(
        f"{folder}: holds {', '.join(names[:5])}, which the stage did not write through its StageDir; move it "
        "elsewhere and run again (a body writes work in progress to scratch())"
    )


def _clean_up(run: Run, folder: Path) -> None:
    """Drop what only a stage at work needs. A kill in here leaves a complete stage; the next call ends it."""
    remove_temporaries(folder)
    with storage_errors(folder):
        remove(folder / JOURNAL_NAME)
        remove(folder / SCRATCH_NAME)


def _move(source: Path, target: Path) -> None:
    with storage_errors(source):
        source.rename(target)
        sync_file(source.parent)
