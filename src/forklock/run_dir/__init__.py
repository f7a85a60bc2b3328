"""Run folders: stages that are skipped when complete, go on after a kill, and never lose finished work.

    with open_run(path) as run:                          # one process at a time
        write_text(run.path / "recipe.toml", recipe)
        run_stages(run, [Stage(name="synthesize", body=..., config=...), Stage(name="train", ...)])

It knows nothing of language models. `atomic` writes whole files, `line_log` appends whole lines, `content` hashes,
`plan` is what a stage's work depends on, `manifest` what it made, `stage` the folder a body works in, `lock` keeps
other processes out, `opening` and `pipeline` run it all, `set_aside` keeps work of other configurations, `repair` has
damaged outputs made again, `status` looks without touching, and `work_time` says how long it all took.
"""

from forklock.run_dir.atomic import atomic_file, write_bytes, write_text
from forklock.run_dir.content import Content, Output, Tree, hash_file
from forklock.run_dir.errors import (
    CorruptError,
    NewerSchemaError,
    NotARunFolderError,
    RunDirError,
    RunLockedError,
    SourceError,
    StageError,
    StorageError,
)
from forklock.run_dir.events import Event, read_events
from forklock.run_dir.lock import LockHolder
from forklock.run_dir.manifest import Manifest, read_manifest
from forklock.run_dir.opening import Run, open_run
from forklock.run_dir.pipeline import StageResult, reopen_stage, run_stages
from forklock.run_dir.provenance import Provenance, read_provenance
from forklock.run_dir.repair import Repair, repair_run
from forklock.run_dir.stage import Stage, StageDir
from forklock.run_dir.status import RunStatus, StageStatus, Verification, read_status, verify_run

__all__ = [
    "Content",
    "CorruptError",
    "Event",
    "LockHolder",
    "Manifest",
    "NewerSchemaError",
    "NotARunFolderError",
    "Output",
    "Provenance",
    "Repair",
    "Run",
    "RunDirError",
    "RunLockedError",
    "RunStatus",
    "SourceError",
    "Stage",
    "StageDir",
    "StageError",
    "StageResult",
    "StageStatus",
    "StorageError",
    "Tree",
    "Verification",
    "atomic_file",
    "hash_file",
    "open_run",
    "read_events",
    "read_manifest",
    "read_provenance",
    "read_status",
    "reopen_stage",
    "repair_run",
    "run_stages",
    "verify_run",
    "write_bytes",
    "write_text",
]
