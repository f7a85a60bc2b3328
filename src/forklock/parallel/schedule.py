"""Which stage comes next, and what a failed one takes with it: whatever reads it, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forklock.errors import ForklockError
from forklock.run_dir import Stage
from forklock.stages import MODEL

FROZEN = "the frozen model"


def model_of(stage: Stage) -> str:
    """Stages of one model share its engine."""
    return stage.reads.get(MODEL, FROZEN)


class StageFailedError(ForklockError):
    """A stage failed in a process of its own, whose words these are."""


class Schedule:
    """Stages that wait, in an order in which they can run, those at work, and those that failed."""

    def __init__(self, stages: Sequence[Stage], *, stops_at_failure: bool = False) -> None:
        """`stops_at_failure`: the first failure is raised, where else what does not need that stage goes on."""
        self.num_stages = len(stages)
        self.num_done = 0
        self._stops_at_failure = stops_at_failure
        self._waiting = {stage.name: stage for stage in stages}
        self._missing = {stage.name: {*stage.reads.values()} & self._waiting.keys() for stage in stages}
        self.failures: dict[str, str] = {}
        """Stage -> reason, in the order in which they failed; those that could not run for it are after it."""

    def take(self, model: str | None = None) -> Stage | None:
        """A stage that can run now, rather one of this model; None where all that wait are waiting for others."""
        ready = [stage for stage in self._waiting.values() if not self._missing[stage.name]]
        if not ready:
            return None
        stage = next((stage for stage in ready if model_of(stage) == model), ready[0])
        del self._waiting[stage.name]
        return stage

    def finish(self, name: str) -> None:
        self.num_done += 1
        for missing in self._missing.values():
            missing.discard(name)

    def fail(self, name: str, reason: str) -> None:
        if self._stops_at_failure:
            raise StageFailedError(f"stage {name}: {reason}")
        self.failures[name] = reason
        for stage in [stage for stage in self._waiting.values() if name in stage.reads.values()]:
            if self._waiting.pop(stage.name, None) is not None:
                self.fail(stage.name, _consequence(name))


def is_consequence(reason: str, failures: Mapping[str, str]) -> bool:
    """Whether a stage failed for want of another."""
    return any(reason == _consequence(name) for name in failures)


def _consequence(name: str) -> str:
    return f"needs {name}, which failed"
