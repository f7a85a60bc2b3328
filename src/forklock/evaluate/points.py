"""Evaluation points: one model at one decoding on one benchmark, each a stage of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from forklock import benchmarks
from forklock.config import BenchmarkName, ModelConfig, Recipe
from forklock.decoding import Decoding
from forklock.model_path import local_folder
from forklock.run_dir import StageDir

Role = Literal["base", "student"]
FAMILY = "evaluate"


@dataclass(frozen=True)
class PointPlan:
    """What is evaluated; recipes and sweeps that agree on it share the stage."""

    role: Role
    benchmark: BenchmarkName
    decoding: Decoding

    @property
    def stage_name(self) -> str:
        """Readable, and different for different points."""
        temperature, top_p = (_number(value) for value in (self.decoding.temperature, self.decoding.top_p))
        return f"{FAMILY}/{self.role}-{self.benchmark}-t{temperature}-k{self.decoding.top_k}-p{top_p}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The frozen model's results don't depend on any training."""
        return ("train",) if self.role == "student" else ()

    def config(self, recipe: Recipe) -> dict[str, object]:
        """What decides samples and verdicts, besides files; models and data that are files count by their content."""
        is_local = self.role == "student" or local_folder(recipe.model.path) is not None
        is_data_local = self.benchmark in recipe.evaluate.data_paths
        return {
            "model": recipe.model.model_dump(mode="json", exclude={"path", "revision"} if is_local else set()),
            "engine": recipe.engine.model_dump(mode="json", include={"kind", "strict"}),
            "benchmark": self.benchmark,
            "data_revision": None if is_data_local else recipe.evaluate.data_revisions.get(self.benchmark),
            "decoding": asdict(self.decoding),
            "num_samples_per_problem": recipe.evaluate.num_samples_per_problem,
            "max_sequence_tokens": recipe.evaluate.max_sequence_tokens,
            "seed": recipe.seed,
        }

    def data_files(self, recipe: Recipe) -> dict[str, Path]:
        """Local files of the benchmark, there or not, as inputs of the stage."""
        path = recipe.evaluate.data_paths.get(self.benchmark)
        if path is None:
            return {}
        if not Path(path).exists():
            return {f"evaluate.data_paths.{self.benchmark}": Path(path)}
        return benchmarks.local_files(self.benchmark, path)

    def model(self, recipe: Recipe, stage_dir: StageDir) -> ModelConfig:
        if self.role == "base":
            return recipe.model
        return recipe.model.model_copy(update={"path": str(stage_dir.upstream("train") / "model"), "revision": None})


def plan_points(recipe: Recipe) -> list[PointPlan]:
    """Of each benchmark: the frozen model's own decoding and its temperatures, then the trained model's."""
    return [*dict.fromkeys(_points(recipe, "base")), *dict.fromkeys(_points(recipe, "student"))]


def base_sweep(recipe: Recipe) -> list[Decoding]:
    """All decodings of the frozen model, its own first."""
    own = recipe.evaluate.base_decoding
    others = [Decoding(temperature, own.top_k, own.top_p) for temperature in recipe.evaluate.base_temperatures]
    return list(dict.fromkeys([own, *others]))


def _points(recipe: Recipe, role: Role) -> Iterator[PointPlan]:
    decodings = base_sweep(recipe) if role == "base" else [recipe.evaluate.student_decoding]
    for benchmark in recipe.evaluate.benchmarks:
        for decoding in decodings:
            yield PointPlan(role, benchmark, decoding)


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")
