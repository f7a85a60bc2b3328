"""The two files that say how far a stage's folder is: the journal while it works, the manifest when complete.

manifest.json, written last, holds the plan and the outputs, and nothing that differs between a run that was
killed and one that was not. journal.jsonl holds the plan in its first line and then a line for each output,
written *before* the output gets its name: a file that stands under an output's name is always accounted for.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from forklock.run_dir.atomic import write_text
from forklock.run_dir.content import Output, canonical_json, hash_text
from forklock.run_dir.errors import CorruptError, NewerSchemaError
from forklock.run_dir.line_log import LineLog, read_lines
from forklock.run_dir.plan import SCHEMA_VERSION, StagePlan

MANIFEST_NAME = "manifest.json"
JOURNAL_NAME = "journal.jsonl"

_Record = TypeVar("_Record", bound=BaseModel)


class Manifest(StagePlan):
    """A complete stage."""

    outputs: dict[str, Output]
    warnings: tuple[str, ...] = ()
    """What the body found amiss in what it made."""

    @property
    def digest(self) -> str:
        """Hash of what the stage made and from what; the plans of the stages that read this one hold it."""
        return hash_text(canonical_json(self.model_dump(exclude={"warnings"})))

    @classmethod
    def of(cls, plan: StagePlan, outputs: dict[str, Output], warnings: Sequence[str] = ()) -> Self:
        facts = plan.model_dump(include=set(StagePlan.model_fields))
        outputs = {name: outputs[name] for name in sorted(outputs)}
        return cls.model_validate({**facts, "outputs": outputs, "warnings": tuple(warnings)})


class JournalEntry(BaseModel):
    """An output that has, or is about to get, its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: str
    content: Output


@dataclass(frozen=True)
class Work:
    """What a stage's folder holds."""

    plan: StagePlan
    outputs: dict[str, Output]
    complete: Manifest | None


def read_work(folder: Path) -> Work | None:
    """The work in a stage's folder; None where none was begun. Changes nothing."""
    if manifest := _read_if_there(folder / MANIFEST_NAME, read_manifest):
        return Work(manifest, manifest.outputs, manifest)
    if work := _read_if_there(folder / JOURNAL_NAME, _read_journal):
        return work
    # Between the two looks the stage may have completed and dropped its journal.
    if manifest := _read_if_there(folder / MANIFEST_NAME, read_manifest):
        return Work(manifest, manifest.outputs, manifest)
    return None


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.json; FileNotFoundError when there is none."""
    mend = f"restore it from a copy, or delete {path.parent} to have the stage made again"
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptError(f"{path}: not JSON ({error}); {mend}") from error
    if not isinstance(record, dict):
        raise CorruptError(f"{path}: not a JSON object; {mend}")
    check_schema(path, record.get("schema_version"))
    fingerprint, digest = record.pop("fingerprint", None), record.pop("digest", None)
    manifest = _validate(Manifest, record, f"{path}", mend)
    if (fingerprint, digest) != (manifest.fingerprint, manifest.digest):
        raise CorruptError(f"{path}: its content does not match its own digest, it was changed; {mend}")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    record = {**manifest.model_dump(), "fingerprint": manifest.fingerprint, "digest": manifest.digest}
    write_text(folder / MANIFEST_NAME, json.dumps(record, indent=2, allow_nan=False) + "\n")


def start_journal(folder: Path, plan: StagePlan) -> None:
    write_text(folder / JOURNAL_NAME, canonical_json(plan.model_dump()) + "\n")


def reopen_journal(folder: Path, manifest: Manifest) -> None:
    """Write the journal that the manifest stands for."""
    entries = [JournalEntry(output=name, content=content) for name, content in manifest.outputs.items()]
    plan = manifest.model_dump(include=set(StagePlan.model_fields))
    lines = [canonical_json(record) + "\n" for record in (plan, *(entry.model_dump() for entry in entries))]
    write_text(folder / JOURNAL_NAME, "".join(lines))


def open_journal(folder: Path) -> LineLog:
    return LineLog(folder / JOURNAL_NAME, durable=True)


def check_schema(path: Path, version: object) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path}: schema_version is {version}, this forklock reads up to {SCHEMA_VERSION}; "
            "upgrade forklock, or use another run folder"
        )


def _read_journal(path: Path) -> Work:
    mend = f"restore it from a copy, or delete {path.parent} to have the stage made again"
    lines = read_lines(path)
    header = next(lines, None)
    if header is None:  # written whole or not at all, so not by a kill
        raise CorruptError(f"{path}: has no first line; {mend}")
    check_schema(path, header.get("schema_version"))
    plan = _validate(StagePlan, header, f"{path}: line 1", mend)
    outputs: dict[str, Output] = {}
    for number, line in enumerate(lines, start=2):
        entry = _validate(JournalEntry, line, f"{path}: line {number}", mend)
        outputs[entry.output] = entry.content
    return Work(plan, outputs, None)


def _validate(model: type[_Record], record: object, where: str, mend: str) -> _Record:
    try:
        return model.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CorruptError(f"{where}: {field}: {first['msg']}; {mend}") from error


_Found = TypeVar("_Found")


def _read_if_there(path: Path, read: Callable[[Path], _Found]) -> _Found | None:
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
