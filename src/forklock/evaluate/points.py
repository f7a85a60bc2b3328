"""Evaluation points: one model at one decoding on one benchmark, each a stage of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from forklock import benchmarks
from forklock.config import BenchmarkName, Recipe
from forklock.decoding import Decoding
from forklock.model_path import identity
from forklock.students import BASE, slug

FAMILY, PREVIEW_FAMILY = "evaluate", "preview"


@dataclass(frozen=True)
class PointPlan:
    """What is evaluated; recipes and sweeps that agree on it share the stage."""

    model: str
    """`base`, also where it plays; or a student's name."""
    benchmark: BenchmarkName
    decoding: Decoding
    checkpoint: int | None = None
    """The step of the training at which the model is taken; None: the trained model."""
    plays: Decoding | None = None
    """The frozen model stands in for its student of this training decoding, as if that were fitted ideally."""

    @property
    def title(self) -> str:
        return self.model if self.plays is None else f"student of {self.plays}, played"

    @property
    def stage_name(self) -> str:
        """Readable, and different for different points."""
        if self.plays is not None:
            return f"{PREVIEW_FAMILY}/{self.benchmark}-{slug(self.plays)}-then-{slug(self.decoding)}"
        step = "" if self.checkpoint is None else f"-step{self.checkpoint}"
        return f"{FAMILY}/{self.model}{step}-{self.benchmark}-{slug(self.decoding)}"

    def config(self, recipe: Recipe) -> dict[str, object]:
        """What decides samples and verdicts, besides files; models and data that are files count by their content."""
        settings = recipe.evaluate
        is_data_local = self.benchmark in settings.data_paths
        plays = {} if self.plays is None else {"plays": asdict(self.plays)}
        checkpoint = {} if self.checkpoint is None else {"checkpoint": self.checkpoint}
        all_tests = {"all_tests": True} if settings.all_tests else {}
        return {
            **plays,
            **checkpoint,
            "model": identity(recipe.model, is_made_by_run=self.model != BASE),
            "engine": recipe.engine.model_dump(mode="json", include={"kind", "strict"}),
            "benchmark": self.benchmark,
            "data_revision": None if is_data_local else settings.data_revisions.get(self.benchmark),
            "decoding": asdict(self.decoding),
            "num_samples_per_problem": settings.num_samples_per_problem,
            "max_sequence_tokens": settings.max_sequence_tokens,
            "seed": recipe.seed,
            **all_tests,
        }

    def data_files(self, recipe: Recipe) -> dict[str, Path]:
        """Local files of the benchmark, there or not, as inputs of the stage."""
        path = recipe.evaluate.data_paths.get(self.benchmark)
        if path is None:
            return {}
        if not Path(path).exists():
            return {f"evaluate.data_paths.{self.benchmark}": Path(path)}
        return benchmarks.local_files(self.benchmark, path)


def plan_points(
    recipe: Recipe, model: str, decodings: Iterable[Decoding], checkpoints: Iterable[int] = ()
) -> list[PointPlan]:
    """Every benchmark at every decoding, of these checkpoints and of the model itself."""
    return [
        PointPlan(model, benchmark, decoding, checkpoint)
        for benchmark in recipe.evaluate.benchmarks
        for checkpoint in (*checkpoints, None)
        for decoding in dict.fromkeys(decodings)
    ]
