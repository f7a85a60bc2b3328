"""Where the numbers come from: stages with their times, machines, packages, seeds, hashes, the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from forklock import recipes
from forklock.report.contents import Contents
from forklock.report.markup import Markup, element, together
from forklock.report.tables import Cell, Row, Table, as_html, row
from forklock.run_dir import Provenance, StageStatus, read_provenance
from forklock.run_dir.content import hash_text
from forklock.run_dir.provenance import Machine
from forklock.run_dir.work_time import intervals_at_work, seconds_at_work

GIB = 2**30


def provenance_tables(contents: Contents) -> tuple[Table, ...]:
    records = {stage.stage: _record(contents, stage.stage) for stage in contents.status.stages}
    machines = list(
        dict.fromkeys(attempt.machine.model_dump_json() for one in records.values() for attempt in one.attempts)
    )
    return (
        _stages(contents.status.stages, records),
        _identity(contents, records),
        *(_machine(Machine.model_validate_json(one), number) for number, one in enumerate(machines, start=1)),
    )


def provenance_section(contents: Contents, tables: Iterable[Table]) -> Markup:
    recipe = element("pre", recipes.to_toml(contents.recipe), class_="recipe")
    return together(
        *(as_html(table) for table in tables),
        element("details", element("summary", "The whole recipe, every default spelled out"), recipe),
        _commands(contents),
    )


def seconds_text(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def total_seconds(contents: Contents) -> float:
    """The time in which any stage was at work, those taken side by side counted once."""
    attempts = [one for stage in contents.status.stages for one in _record(contents, stage.stage).attempts]
    return seconds_at_work(intervals_at_work(attempts))


def _record(contents: Contents, stage: str) -> Provenance:
    return contents.attempt(lambda: read_provenance(contents.run_dir / stage)) or Provenance()


def _seconds(record: Provenance) -> float:
    return sum(attempt.duration_s or 0.0 for attempt in record.attempts)


def _stages(stages: Iterable[StageStatus], records: dict[str, Provenance]) -> Table:
    rows = []
    for stage in stages:
        attempts = records[stage.stage].attempts
        broken = sum(attempt.finished is None for attempt in attempts)
        started = attempts[0].started[:19].replace("T", " ") if attempts else ""
        rows.append(
            row(
                stage.stage,
                stage.state,
                started,
                seconds_text(_seconds(records[stage.stage])) if attempts else "",
                f"{len(attempts)}" + (f", {broken} not finished" if broken else ""),
                f"{stage.num_bytes / 1e6:,.1f} MB",
                (stage.fingerprint or "")[:12],
            )
        )
    columns = ("stage", "state", "begun (UTC)", "time", "attempts", "size", "fingerprint")
    note = (
        "The fingerprint is a hash of all that decides a stage's work: settings, inputs, the stages before. Time is "
        "that of finished attempts. `forklock status --verify` hashes every file."
    )
    return Table("stages", "Stages", columns, tuple(rows), note, "compact")


def _identity(contents: Contents, records: dict[str, Provenance]) -> Table:
    recipe = contents.recipe
    facts = {
        "model": recipe.model.path + (f", revision {recipe.model.revision}" if recipe.model.revision else ""),
        "SHA-256 of the recipe": hash_text(recipes.to_toml(recipe)),
        "seed": str(recipe.seed),
        **dict(_weights(contents)),
        **dict(_digests(contents, records)),
    }
    rows = tuple(Row(Cell(name), (Cell(value),)) for name, value in facts.items())
    return Table("identity", "What was worked with", ("", "value"), rows, look="compact text")


def _weights(contents: Contents) -> Iterator[tuple[str, str]]:
    """As they were in memory when samples were drawn from them."""
    seen: dict[str, str] = {}
    for stage in contents.plan.stages:
        path = contents.run_dir / stage / "frozen_model.json"
        found = contents.attempt(lambda path=path: json.loads(path.read_text())) if path.is_file() else None  # type: ignore[misc]
        digest = found.get("weights") if isinstance(found, dict) else None
        if digest and digest not in seen:
            seen[digest] = stage
            yield f"weights in memory, {stage}", str(digest)


def _digests(contents: Contents, records: dict[str, Provenance]) -> Iterator[tuple[str, str]]:
    paths = {
        name: path for one in records.values() for attempt in one.attempts for name, path in attempt.inputs.items()
    }
    yield from ((f"input {name}", path) for name, path in paths.items())


def _machine(machine: Machine, number: int) -> Table:
    facts = {
        "host": machine.host,
        "processor": f"{machine.cpu}, {machine.num_cpus} cores",
        "memory": f"{machine.memory_bytes / GIB:,.1f} GiB",
        "accelerators": ", ".join(machine.gpus) or "none",
        "system": machine.platform,
        "Python": machine.python,
        **machine.packages,
    }
    rows = tuple(Row(Cell(name), (Cell(value),)) for name, value in facts.items())
    title = f"Machine {number}, and what ran on it"
    return Table(f"machine-{number}", title, ("", "value"), rows, look="compact text")


def _commands(contents: Contents) -> Markup | None:
    lines = dict.fromkeys(
        " ".join(attempt.command)
        for stage in contents.status.stages
        for attempt in _record(contents, stage.stage).attempts
    )
    if not lines:
        return None
    listed = element("pre", "\n".join(lines), class_="recipe")
    return element("details", element("summary", "The commands that worked on it"), listed)
