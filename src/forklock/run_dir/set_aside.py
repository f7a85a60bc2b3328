"""Work of other fingerprints: where it is put, and how it is found again.

A stage's samples may have cost thousands of dollars, so work that no longer fits the configuration is renamed,
never deleted; and when a later call asks for just that work, it is renamed back.
"""

from pathlib import Path

from forklock.run_dir.errors import RunDirError
from forklock.run_dir.manifest import Work, read_work
from forklock.run_dir.stage import SCRATCH_NAME, find_strangers

_INFIX = ".stale-"


def name_aside(folder: Path, fingerprint: str) -> Path:
    """A free name beside `folder`; no stage's name holds a dot."""
    base = f"{folder.name}{_INFIX}{fingerprint[:8]}"
    aside, number = folder.with_name(base), 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{base}-{number}")
    return aside


def list_set_aside(folder: Path) -> list[Path]:
    if not folder.parent.is_dir():
        return []
    return sorted(folder.parent.glob(f"{folder.name}{_INFIX}*"))


def find_set_aside(folder: Path, fingerprint: str) -> Path | None:
    """The set-aside folder with this very fingerprint's work, a complete one first. Damaged ones are not it."""
    found: list[tuple[bool, Path]] = []
    for aside in list_set_aside(folder):
        try:
            work = read_work(aside)
        except RunDirError:
            continue
        if work is not None and work.plan.fingerprint == fingerprint:
            found.append((work.complete is None, aside))
    return min(found)[1] if found else None


def is_worth_keeping(folder: Path, work: Work) -> bool:
    """Whether anything was made: a stage that failed before its first output leaves nothing to set aside."""
    made = any((folder / name).exists() for name in work.outputs)
    return bool(work.complete or made or (folder / SCRATCH_NAME).exists() or find_strangers(folder, {}))
