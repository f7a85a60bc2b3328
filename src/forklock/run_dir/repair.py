"""Makes a run with damaged outputs runnable again: what is damaged steps aside, and only that is made again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forklock.run_dir.atomic import remove, storage_errors
from forklock.run_dir.content import find_damage
from forklock.run_dir.manifest import Work, read_work
from forklock.run_dir.opening import Run
from forklock.run_dir.pipeline import reopen_stage
from forklock.run_dir.stage import Stage
from forklock.run_dir.status import present_outputs

DAMAGED_NAME = ".damaged"


@dataclass(frozen=True)
class Repair:
    """What has to be made again in one stage."""

    stage: str
    damage: tuple[str, ...]
    set_aside: tuple[str, ...]
    """Outputs now in the stage's `.damaged` folder: the damaged ones, and those that are made from all others."""


def repair_run(run: Run, stages: Sequence[Stage]) -> tuple[Repair, ...]:
    """Hash every output of the stages, set aside what differs from its record, and reopen the stages concerned.

    Whatever a stage makes again may differ in its bytes (the order in which samples finish), and then the stages that
    read it run again too. A kill in the middle is mended by another call.
    """
    repairs = []
    for stage in stages:
        work = read_work(run.path / stage.name)
        if work is not None and (repair := _repair(run, stage, work)) is not None:
            repairs.append(repair)
    return tuple(repairs)


def _repair(run: Run, stage: Stage, work: Work) -> Repair | None:
    folder = run.path / stage.name
    findings = {
        name: found
        for name, output in present_outputs(folder, work).items()
        if (found := find_damage(folder, {name: output}, "full"))
    }
    if not findings:
        return None
    names = [*findings, *(name for name in stage.derived if name not in findings)]
    set_aside = tuple(name for name in names if _set_aside(folder, name))
    if work.complete is not None:
        reopen_stage(run, stage.name)
    damage = tuple(line for found in findings.values() for line in found)
    run.events.add("stage_repaired", stage.name, damage=list(damage), set_aside=list(set_aside))
    return Repair(stage.name, damage, set_aside)


def _set_aside(folder: Path, name: str) -> bool:
    """False where nothing is there."""
    if not (folder / name).exists():
        return False
    aside = folder / DAMAGED_NAME / name
    with storage_errors(aside):
        aside.parent.mkdir(exist_ok=True)
        remove(aside)
        (folder / name).rename(aside)
    return True
